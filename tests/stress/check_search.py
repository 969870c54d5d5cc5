"""The laws of decoding, on real speech with trained weights: neighbors, stopping, the plain search, bfloat16.

    python -m tests.stress.check_search runs/an4/conformer_s data/an4/test.jsonl --plain 20

Prints what it found and ends with status 1 if an utterance's result depends on its neighbors, if the search that stops
early differs from the one run to its bound, or if it differs from the plain search of tests/decoding/plain.py.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from hybrid_asr.common.errors import UserError
from hybrid_asr.config.files import load_yaml
from hybrid_asr.config.schema import parse
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.decoding import decoder as build
from hybrid_asr.decoding.decoder import SearchDecoder
from hybrid_asr.decoding.hypothesis import Nbest
from hybrid_asr.decoding.joint import JointSearch, SearchConfig
from hybrid_asr.inference.build_decoder import DecodeConfig, decoder_for, refuse_unsupported
from hybrid_asr.inference.encode import encode
from hybrid_asr.inference.source import read_ahead
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.run.folder import Run
from hybrid_asr.scoring.report import Scored, report

ROOT = Path(__file__).resolve().parents[2]
CLOSE = 1e-4  # nats: hypotheses that are closer may change places in float32


class Endless(JointSearch):
    """Goes on to the bound."""

    def _finished(self, beam, length):
        return beam.scores.amax(1) == -torch.inf


def presets(bundle: Bundle) -> dict[str, DecodeConfig]:
    """All decoders that the model serves."""
    found = {}
    for path in sorted((ROOT / "conf/decode").glob("*.yaml")):
        settings = parse(DecodeConfig, load_yaml(path), where=path.stem)
        try:
            refuse_unsupported(settings, bundle.model, bundle.tokenizer.writes)
        except UserError:
            continue
        found[path.stem] = settings
    return found


def batches(encoded: list[Encoded], size: int) -> Iterator[Encoded]:
    """Neighbors in one batch each, padded with noise, which must not matter."""
    for begin in range(0, len(encoded), size):
        some = encoded[begin : begin + size]
        states = [one.states[0] for one in some]
        frames = torch.cat([one.frames for one in some])
        padded = 9.0 * torch.randn(len(some), int(frames.max()), states[0].shape[1])
        for row, one in zip(padded, states, strict=True):
            row[: len(one)] = one
        yield Encoded(padded, frames)


def decode(bundle: Bundle, settings: DecodeConfig, encoded: list[Encoded], size: int) -> list[Nbest]:
    decoder = decoder_for(bundle, settings)
    return [nbest for batch in batches(encoded, size) for nbest in decoder.decode(batch)]


def compare(name: str, ours: list[Nbest], theirs: list[Nbest]) -> int:
    """Print how two decodings of the same utterances differ; returns how many differ by more than rounding."""
    texts = sum(a[0].labels != b[0].labels for a, b in zip(ours, theirs, strict=True))
    gaps = [abs(a[0].score - b[0].score) for a, b in zip(ours, theirs, strict=True)]
    finite = [gap for gap in gaps if gap == gap]
    bad = sum(gap > CLOSE for gap in finite)
    print(f"{name:44} best texts that differ {texts:3}, scores apart by up to {max(finite):.1e}, beyond {CLOSE} {bad}")
    return bad


def error_rate(bundle: Bundle, manifest: Manifest, found: list[Nbest]) -> float:
    rows = [
        Scored(one.id, bundle.text.spell(one.text, one.language), bundle.tokenizer.decode(nbest[0].labels), one.speaker)
        for one, nbest in zip(manifest, found, strict=True)
    ]
    return 100 * report(rows, metric="wer").wer.value


def plainly(bundle: Bundle, settings: SearchConfig, encoded: list[Encoded]) -> list[Nbest]:
    """The search as the papers write it, to the same bound."""
    from hybrid_asr.decoding.hypothesis import Hypothesis
    from tests.decoding.plain import plain_search

    decoder = decoder_for(bundle, settings)
    assert isinstance(decoder, SearchDecoder) and bundle.model.ctc is not None
    assert isinstance(bundle.model.decoder, torch.nn.Module)
    found = []
    for one in encoded:
        log_probs = bundle.model.ctc(one)
        ended = plain_search(
            one,
            log_probs[0],
            bundle.model.decoder,
            beam=settings.beam,
            ctc_weight=settings.ctc_weight,
            bound=int(decoder.bound(one, log_probs)),
            sos=bundle.tokenizer.sos,
            eos=bundle.tokenizer.eos,
            blank=bundle.tokenizer.blank,
        )
        found.append([Hypothesis(labels, score, {}, "eos") for labels, score in ended[:1]])
    return found


@torch.inference_mode()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--plain", type=int, default=10, help="utterances for the plain search (default 10)")
    options = parser.parse_args()
    bundle = Run(options.run).bundle("average")[0].eval()
    manifest = Manifest.read(options.manifest)
    alone = [[place] for place in range(len(manifest))]
    encoded = [
        encode(bundle, audio.samples, torch.device("cpu"))
        for audio in read_ahead(manifest, alone, bundle.frontend.rate)
    ]
    bad, settings = 0, presets(bundle)
    for name, preset in settings.items():
        single = decode(bundle, preset, encoded, 1)
        bad += compare(f"{name}: alone and 32 together", single, decode(bundle, preset, encoded, 32))
        if isinstance(preset, SearchConfig):
            build.JointSearch, kept = Endless, build.JointSearch
            bad += compare(f"{name}: stopped and to the bound", single, decode(bundle, preset, encoded, 32))
            build.JointSearch = kept
    joint = settings["joint"]
    assert isinstance(joint, SearchConfig)
    some = encoded[: options.plain]
    bad += compare(
        f"joint and the plain search, {len(some)} utterances",
        decode(bundle, joint, some, 8),
        plainly(bundle, joint, some),
    )
    wide, narrow = (
        decode(
            bundle,
            parse(DecodeConfig, load_yaml(ROOT / "conf/decode/joint.yaml") | {"dtype": dtype}, where="joint"),
            encoded,
            8,
        )
        for dtype in ("float32", "bfloat16")
    )
    changed = sum(a[0].labels != b[0].labels for a, b in zip(wide, narrow, strict=True))
    rates = [error_rate(bundle, manifest, found) for found in (wide, narrow)]
    print(
        f"WER of joint: float32 {rates[0]:.2f} %, bfloat16 {rates[1]:.2f} %; texts that differ {changed} of {len(wide)}"
    )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
