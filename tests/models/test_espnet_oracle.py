"""The Conformer of the original (relative positions, batch norm) against ESPnet's numbers, where those are at hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hybrid_asr.audio.features import Features
from hybrid_asr.models.conformer import Conformer, ConformerConfig

ORACLE = Path(__file__).parents[3] / "shared" / "oracles" / "espnet_conformer_conv2d.npz"
NAMES = {  # ours to ESPnet's, of a layer
    "norms.0": "norm_ff_macaron",
    "norms.1": "norm_mha",
    "norms.2": "norm_conv",
    "norms.3": "norm_ff",
    "norms.4": "norm_final",
    "feed_forward_in.expand": "feed_forward_macaron.w_1",
    "feed_forward_in.contract": "feed_forward_macaron.w_2",
    "feed_forward_out.expand": "feed_forward.w_1",
    "feed_forward_out.contract": "feed_forward.w_2",
    "attention.output": "self_attn.linear_out",
    "attention.distance": "self_attn.linear_pos",
    "convolution.gate": "conv_module.pointwise_conv1",
    "convolution.depthwise": "conv_module.depthwise_conv",
    "convolution.norm": "conv_module.norm",
    "convolution.output": "conv_module.pointwise_conv2",
}


def translated(weights: dict[str, torch.Tensor], model: Conformer) -> dict[str, torch.Tensor]:
    """ESPnet's weights under our names."""
    found = {
        "subsampling.first": "embed.conv.0",
        "subsampling.second": "embed.conv.2",
        "subsampling.project": "embed.out.0",
    }
    ours = {}
    for name, value in model.state_dict().items():
        part, _, last = name.rpartition(".")
        if part in found:
            ours[name] = weights[f"{found[part]}.{last}"]
            continue
        layer, inner = part.split(".", 2)[1], ".".join(part.split(".")[2:])
        there = f"encoders.{layer}."
        if inner == "attention.project":
            ours[name] = torch.cat([weights[f"{there}self_attn.linear_{one}.{last}"] for one in "qkv"])
        elif inner == "attention":
            ours[name] = weights[f"{there}self_attn.pos_bias_{'u' if last == 'content_bias' else 'v'}"]
        else:
            ours[name] = weights[f"{there}{NAMES[inner]}.{last}"].reshape(value.shape)
    return ours


@pytest.mark.skipif(not ORACLE.is_file(), reason="needs ESPnet's numbers, shared/oracles beside the checkout")
def test_every_layer_equals_espnets():
    stored = np.load(ORACLE)
    weights = {name[2:]: torch.tensor(stored[name]) for name in stored.files if name.startswith("w/")}
    cfg = ConformerConfig(
        dim=16, layers=2, heads=4, feed_forward=32, kernel=7, channels=16, positions="relative", norm="batch"
    )
    model = Conformer(cfg, 20).eval()
    model.load_state_dict(translated(weights, model))
    for norm in (part for part in model.modules() if isinstance(part, torch.nn.LayerNorm)):
        norm.eps = 1e-12
    model.double()
    encoded = model(Features(torch.tensor(stored["in/x"]).double(), torch.tensor(stored["in/lens"])))
    after = torch.nn.LayerNorm(16, eps=1e-12).double()
    after.load_state_dict({last: weights[f"after_norm.{last}"] for last in ("weight", "bias")})
    assert encoded.frames.tolist() == [11, 8]
    states = after(encoded.states)  # ESPnet's positions are float32, hence 1e-7
    torch.testing.assert_close(states[0], torch.tensor(stored["out64/y"])[0], rtol=0, atol=1e-7)
    torch.testing.assert_close(states[1, :8], torch.tensor(stored["out64/y_row1_alone"])[0], rtol=0, atol=1e-7)
