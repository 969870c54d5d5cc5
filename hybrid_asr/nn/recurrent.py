"""Recurrent layers over padded batches.  Axes: B utterances, T frames, C inputs, D cells of a direction."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def reversed_rows(
    values: Float[Tensor, "batch time dim"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch time dim"]:
    """Turn the first `lengths` frames of each row around; padding stays where it is.

    It is its own inverse. The lengths stay on their device, unlike with packing.
    """
    batch, time, _ = values.shape
    positions = torch.arange(time, device=values.device)
    mirrored = lengths[:, None] - 1 - positions
    rows = torch.where(mirrored < 0, positions, mirrored) + time * torch.arange(batch, device=values.device)[:, None]
    return values.flatten(0, 1).index_select(0, rows.flatten()).view_as(values)


def begin_gates(inputs: Tensor, recurrent: Tensor, bias: Tensor, *, forget: slice) -> None:
    """First weights of an LSTM: each gate's inputs keep their variance (Glorot and Bengio, 2010), what recurs is
    orthogonal (Saxe et al., 2014), and the forget gates, the entries `forget` of the bias, are open (Jozefowicz et al.,
    2015). With torch's own a narrow signal enters so faintly that a pyramidal encoder learns half as fast.
    """
    with torch.no_grad():
        for part in inputs.chunk(4):
            nn.init.xavier_uniform_(part)
        for part in recurrent.chunk(4):
            nn.init.orthogonal_(part)
        bias.zero_()[forget] = 1.0


class BidirectionalLstm(nn.Module):
    """One LSTM from the first frame to the last real one and one back (Schuster and Paliwal, 1997; Graves, 2005).

    Padding, on the right, comes after the last real frame in both directions, so that it changes no real frame; the
    outputs at padded frames mean nothing.
    """

    def __init__(self, inputs: int, cells: int) -> None:
        super().__init__()
        self.ahead = nn.LSTM(inputs, cells, batch_first=True)
        self.back = nn.LSTM(inputs, cells, batch_first=True)
        for lstm in (self.ahead, self.back):
            weights = dict(lstm.named_parameters())
            begin_gates(
                weights["weight_ih_l0"], weights["weight_hh_l0"], weights["bias_ih_l0"], forget=slice(cells, 2 * cells)
            )
            nn.init.zeros_(weights["bias_hh_l0"])

    def forward(
        self, values: Float[Tensor, "batch time dim"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time both"]:
        """The hidden states of both directions side by side, (B, T, 2 D)."""
        ahead, _ = self.ahead(values)
        back, _ = self.back(reversed_rows(values, lengths))
        return torch.cat([ahead, reversed_rows(back, lengths)], dim=-1)


def lstm_cell(
    gates: Float[Tensor, "*rows gates"], cell: Float[Tensor, "*rows dim"]
) -> tuple[Float[Tensor, "*rows dim"], Float[Tensor, "*rows dim"]]:
    """The hidden state and the cell after one step (Hochreiter and Schmidhuber, 1997; Gers et al., 2000).

    `gates` holds the inputs of the input, forget and output gates and of the candidate, side by side and in this order.
    """
    inputs, candidate = gates.split([3 * cell.shape[-1], cell.shape[-1]], dim=-1)
    input_gate, forget_gate, output_gate = inputs.sigmoid().chunk(3, dim=-1)
    cell = forget_gate * cell + input_gate * candidate.tanh()
    return output_gate * cell.tanh(), cell
