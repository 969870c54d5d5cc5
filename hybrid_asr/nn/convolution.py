"""The Conformer's convolution module.  Axes: B utterances, T frames, D width."""

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F


class ConvolutionModule(nn.Module):
    """Pointwise, gate, depthwise over time, norm, pointwise (Gulati et al., 2020).

    The norm is a LayerNorm: batch statistics would make an utterance depend on its neighbours. Padded frames are zeroed
    right before the depthwise convolution; earlier would not do, since the pointwise bias fills them again.
    """

    def __init__(self, dim: int, kernel: int):
        super().__init__()
        self.gate = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, dim)

    def forward(
        self, values: Float[Tensor, "batch time dim"], valid: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time dim"]:
        """Mix neighbouring real frames; `valid` marks them."""
        gated = F.glu(self.gate(values), dim=-1) * valid[..., None]
        mixed = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        return self.output(F.silu(self.norm(mixed)))
