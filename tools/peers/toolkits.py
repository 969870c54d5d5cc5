# pyright: reportMissingImports=false
"""Other toolkits' models in the sizes of `Sizes`, for the benchmarks; needs the environment of `make peers`."""

import logging
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Sizes(NamedTuple):
    """The workload's model: a Conformer and a Transformer decoder, as every toolkit's large recipe has them."""

    units: int = 500
    features: int = 80
    dim: int = 256
    heads: int = 4
    feed_forward: int = 2048
    layers: int = 12
    decoder_layers: int = 6
    kernel: int = 31
    channels: int = 256
    dropout: float = 0.1
    smoothing: float = 0.1
    ctc_weight: float = 0.3


class Toolkit(Protocol):
    """What a toolkit must do to be measured."""

    def parameters(self) -> int: ...

    def train_step(self, values: Tensor, frames: Tensor, labels: Tensor, label_lengths: Tensor) -> float:
        """Zero the gradients, forward, joint loss, backward; the loss. No optimizer."""
        ...


def count(module: nn.Module) -> int:
    """Trained numbers of a model."""
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad)


class Espnet:
    """ESPnet2, built as its `Speech2Text` and its training build it."""

    def __init__(self, sizes: Sizes):
        from espnet2.asr.ctc import CTC
        from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
        from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
        from espnet2.asr.espnet_model import ESPnetASRModel

        logging.getLogger().setLevel(logging.ERROR)
        units, rate = sizes.units, sizes.dropout
        encoder = ConformerEncoder(
            input_size=sizes.features,
            output_size=sizes.dim,
            attention_heads=sizes.heads,
            linear_units=sizes.feed_forward,
            num_blocks=sizes.layers,
            dropout_rate=rate,
            positional_dropout_rate=rate,
            attention_dropout_rate=rate,
            input_layer="conv2d",
            normalize_before=True,
            macaron_style=True,
            rel_pos_type="latest",
            pos_enc_layer_type="rel_pos",
            selfattention_layer_type="rel_selfattn",
            activation_type="swish",
            use_cnn_module=True,
            cnn_module_kernel=sizes.kernel,
        )
        decoder = TransformerDecoder(
            vocab_size=units,
            encoder_output_size=sizes.dim,
            attention_heads=sizes.heads,
            linear_units=sizes.feed_forward,
            num_blocks=sizes.decoder_layers,
            dropout_rate=rate,
            positional_dropout_rate=rate,
            self_attention_dropout_rate=rate,
            src_attention_dropout_rate=rate,
        )
        self.model = ESPnetASRModel(
            vocab_size=units,
            token_list=["<blank>", "<unk>", *(f"t{place}" for place in range(2, units - 1)), "<sos/eos>"],
            frontend=None,
            specaug=None,
            normalize=None,
            preencoder=None,
            encoder=encoder,
            postencoder=None,
            decoder=decoder,
            ctc=CTC(odim=units, encoder_output_size=sizes.dim),
            joint_network=None,
            ctc_weight=sizes.ctc_weight,
            lsm_weight=sizes.smoothing,
            length_normalized_loss=False,
            report_cer=False,
            report_wer=False,
        ).train()

    def parameters(self) -> int:
        return count(self.model)

    def train_step(self, values: Tensor, frames: Tensor, labels: Tensor, label_lengths: Tensor) -> float:
        self.model.zero_grad(set_to_none=True)
        loss = self.model(values, frames, labels.clone(), label_lengths)[0]
        loss.backward()
        return float(loss.detach())


class SpeechBrain:
    """SpeechBrain's TransformerASR with a Conformer encoder; its recipes have a front end of 64 and 32 channels."""

    BOS, EOS = 1, 2

    def __init__(self, sizes: Sizes):
        from speechbrain.lobes.models.convolution import ConvolutionFrontEnd
        from speechbrain.lobes.models.transformer.TransformerASR import TransformerASR
        from speechbrain.nnet.linear import Linear

        logging.getLogger("speechbrain").setLevel(logging.ERROR)
        self.sizes = sizes
        self.front = ConvolutionFrontEnd(
            input_shape=(8, 10, sizes.features),
            num_blocks=2,
            num_layers_per_block=1,
            out_channels=(sizes.channels, sizes.channels),
            kernel_sizes=(3, 3),
            strides=(2, 2),
            residuals=(False, False),
        )
        self.net = TransformerASR(
            input_size=sizes.channels * (sizes.features // 4),
            tgt_vocab=sizes.units,
            d_model=sizes.dim,
            nhead=sizes.heads,
            num_encoder_layers=sizes.layers,
            num_decoder_layers=sizes.decoder_layers,
            d_ffn=sizes.feed_forward,
            dropout=sizes.dropout,
            activation=nn.GELU,
            encoder_module="conformer",
            attention_type="RelPosMHAXL",
            kernel_size=sizes.kernel,
            normalize_before=True,
            causal=False,
        )
        self.ctc = Linear(input_size=sizes.dim, n_neurons=sizes.units)
        self.output = Linear(input_size=sizes.dim, n_neurons=sizes.units)
        self.all = nn.ModuleList([self.front, self.net, self.ctc, self.output]).train()

    def parameters(self) -> int:
        return count(self.all)

    def train_step(self, values: Tensor, frames: Tensor, labels: Tensor, label_lengths: Tensor) -> float:
        from speechbrain.nnet.losses import ctc_loss, kldiv_loss

        self.all.zero_grad(set_to_none=True)
        one = torch.ones(len(labels))
        relative = frames.float() / values.shape[1]
        begun = nn.functional.pad(labels, (1, 0), value=self.BOS)
        ended = nn.functional.pad(labels, (0, 1), value=self.EOS)
        encoded, decoded = self.net(self.front(values), begun, relative, pad_idx=0)
        attention = kldiv_loss(
            self.output(decoded).log_softmax(-1),
            ended,
            length=one,
            label_smoothing=self.sizes.smoothing,
            reduction="batchmean",
        )
        ctc = ctc_loss(self.ctc(encoded).log_softmax(-1), labels, relative, one, blank_index=0, reduction="batchmean")
        loss = self.sizes.ctc_weight * ctc + (1 - self.sizes.ctc_weight) * attention
        loss.backward()
        return float(loss.detach())
