"""Do ESPnet's models say here what they say there, and ours there what they say here?  In `.venv-peers`:

    .venv-peers/bin/python -m tools.peers.check_espnet --model runs/espnet_an4 --data data/an4/test.jsonl

The model (config.yaml, model.pth) is imported, then both toolkits decode every utterance by itself: ESPnet's
`Speech2Text` (beam 10, CTC 0.3, its defaults otherwise) and ours as `decode.parity=espnet`. Then our run is exported
again, as is each `--run`, and ESPnet decodes that. Prints a table: what, the figure, its bound, the verdict; exit
status 1 if one misses. N-best lists are compared where neighbors' scores differ by more than 1e-3, since rounding may
swap those that are nearer.
"""

import argparse
import contextlib
import io as text_io
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from espnet2.bin.asr_inference import Speech2Text  # pyright: ignore[reportMissingImports]

from hybrid_asr.commands.convert import export_espnet, import_espnet
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.decoding.joint import SearchConfig
from hybrid_asr.inference.build_decoder import decoder_for
from hybrid_asr.inference.encode import encode
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.folder import Run

CTC_WEIGHT = 0.3
CLOSE = 1e-3  # of scores: nearer ones may swap
FEATURES, STATES = 1e-4, 1e-3


class Entry(NamedTuple):
    """A hypothesis as both toolkits tell it: labels without sos and eos, and the score."""

    labels: tuple[int, ...]
    score: float


class Said(NamedTuple):
    """What a toolkit made of an utterance."""

    text: str
    nbest: list[Entry]


class Row(NamedTuple):
    """A line of the table; `bound` is what the figure must reach, or must not pass."""

    what: str
    figure: float
    bound: float
    kind: str  # "most" or "least"

    def missed(self) -> bool:
        return self.figure > self.bound if self.kind == "most" else self.figure < self.bound


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", type=Path, required=True, help="folder with ESPnet's config.yaml and model.pth")
    arguments.add_argument("--data", type=Path, required=True, help="manifest of the utterances to decode")
    arguments.add_argument("--run", type=Path, action="append", default=[], help="runs of ours to export, too")
    arguments.add_argument("--first", type=int, help="only so many utterances")
    arguments.add_argument("--beam", type=int, default=10, help="smaller than the vocabulary: see docs/lessons.md")
    arguments.add_argument("--batch", type=int, default=1, help="utterances that our search decodes at once")
    args = arguments.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        imported = import_espnet(args.model / "config.yaml", args.model / "model.pth", Path(folder) / "imported")
        rows += compare("imported", imported.folder, args.model, args)
        for place, run in enumerate([imported.folder, *args.run]):
            to = Path(folder) / f"exported{place}"
            export_espnet(run, to)
            rows += compare(f"exported {run.name}", run, to, args)
    print("\n".join(table(rows)))
    return int(any(row.missed() for row in rows))


def compare(name: str, run: Path, theirs: Path, args: argparse.Namespace) -> Iterator[Row]:
    """Decode the set with both toolkits; features, encoder states, best texts and n-best lists."""
    bundle = Run(run).bundle()[0].eval()
    manifest = Manifest.read(args.data)
    rate = bundle.frontend.rate
    speech = [manifest.read_audio(index, rate) for index in range(min(args.first or len(manifest), len(manifest)))]
    with contextlib.redirect_stdout(text_io.StringIO()):
        espnet = Speech2Text(
            str(theirs / "config.yaml"),
            str(theirs / "model.pth"),
            beam_size=args.beam,
            ctc_weight=CTC_WEIGHT,
            nbest=args.beam,
        )
    features, states = hidden(bundle, espnet, speech)
    yield Row(f"{name}: features, largest difference", features, FEATURES, "most")
    yield Row(f"{name}: encoder states, largest difference", states, STATES, "most")
    began = time.perf_counter()
    there = [espnets(espnet, samples) for samples in speech]
    between = time.perf_counter()
    here = list(ours(bundle, speech, args.beam, args.batch))
    print(
        f"{name}: {len(speech)} utterances, ESPnet {between - began:.1f} s, ours {time.perf_counter() - between:.1f} s"
    )
    texts = [" ".join(one.text.split()) == " ".join(other.text.split()) for one, other in zip(here, there, strict=True)]
    yield Row(f"{name}: equal best texts of {len(texts)}", sum(texts), len(texts), "least")
    for place in [place for place, equal in enumerate(texts) if not equal][:5]:
        print(f"  {manifest[place].id}: ESPnet {there[place].text!r} {there[place].nbest[0].score:.4f}")
        print(f"  {'':{len(manifest[place].id)}}  ours   {here[place].text!r} {here[place].nbest[0].score:.4f}")
    same = [same_lists(one.nbest, other.nbest) for one, other in zip(here, there, strict=True)]
    yield Row(f"{name}: equal n-best lists of {len(same)}", sum(same), len(same), "least")
    apart = [score_difference(one.nbest, other.nbest) for one, other in zip(here, there, strict=True)]
    yield Row(f"{name}: scores of equal hypotheses, largest difference", max(apart), CLOSE, "most")


@torch.no_grad()
def hidden(bundle: Bundle, espnet: Any, speech: list[np.ndarray]) -> tuple[float, float]:
    """The largest differences of normalized features and encoder states, utterance by utterance; lengths are equal."""
    features, states = 0.0, 0.0
    for samples in speech:
        audio, lengths = torch.from_numpy(samples)[None], torch.tensor([len(samples)])
        mine = bundle.frontend(audio, lengths)
        theirs, frames = espnet.asr_model._extract_feats(audio.clone(), lengths)
        if espnet.asr_model.normalize is not None:
            theirs, frames = espnet.asr_model.normalize(theirs, frames)
        assert mine.frames.tolist() == frames.tolist(), "another number of frames"
        features = max(features, float((mine.values - theirs).abs().max()))
        encoded = bundle.model.encode(mine)
        out, out_frames = espnet.asr_model.encode(audio.clone(), lengths)
        assert encoded.frames.tolist() == out_frames.tolist(), "another number of encoder frames"
        states = max(states, float((encoded.states - out).abs().max()))
    return features, states


def espnets(espnet: Any, samples: np.ndarray) -> Said:
    """What ESPnet makes of an utterance."""
    found = espnet(samples)
    nbest = [
        Entry(tuple(int(label) for label in hypothesis.yseq[1:-1]), float(hypothesis.score)) for *_, hypothesis in found
    ]
    return Said(found[0][0], nbest)


def ours(bundle: Bundle, speech: list[np.ndarray], beam: int, batch: int) -> Iterator[Said]:
    """What we make of the utterances, in batches of `batch`, with ESPnet's own stopping and pre-selection."""
    decoder = decoder_for(bundle, SearchConfig(beam=beam, ctc_weight=CTC_WEIGHT, nbest=beam, parity="espnet"))
    for begin in range(0, len(speech), batch):
        for found in decoder.decode(encode(bundle, speech[begin : begin + batch], torch.device("cpu"))):
            nbest = [Entry(tuple(one.labels), one.score) for one in found]
            yield Said(bundle.tokenizer.decode(found[0].labels), nbest)


def same_lists(mine: list[Entry], theirs: list[Entry]) -> bool:
    """Whether equal places hold equal labels, as far as their scores tell the places apart."""
    scores = [entry.score for entry in theirs]
    gaps = [np.inf, *(-np.diff(scores)), np.inf]  # of a place from the one before and the one behind
    clear = [place for place in range(min(len(mine), len(theirs))) if min(gaps[place : place + 2]) > CLOSE]
    return all(mine[place].labels == theirs[place].labels for place in clear)


def score_difference(mine: list[Entry], theirs: list[Entry]) -> float:
    known = {entry.labels: entry.score for entry in theirs}
    return max((abs(entry.score - known[entry.labels]) for entry in mine if entry.labels in known), default=0.0)


def table(rows: list[Row]) -> Iterator[str]:
    width = max(len(row.what) for row in rows)
    for row in rows:
        verdict = "MISSED" if row.missed() else "ok"
        yield f"{row.what:{width}}  {row.figure:10.4g}  {row.kind:>5} {row.bound:<8g}  {verdict}"


if __name__ == "__main__":
    sys.exit(main())
