"""The Python door: `load(run).transcribe(paths)`; the command line goes through it, too."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from hybrid_asr.audio import io
from hybrid_asr.common.errors import UserError
from hybrid_asr.config.compose import amend
from hybrid_asr.config.schema import parse
from hybrid_asr.decoding.ctc_align import ctc_align
from hybrid_asr.decoding.hypothesis import Hypothesis
from hybrid_asr.inference.align import Aligned, Unit, align
from hybrid_asr.inference.batching import pick_device, split_on_failure
from hybrid_asr.inference.build import DecodeConfig, decoder_for, refuse_unsupported, supported_decoder
from hybrid_asr.inference.encode import EncodedBatch, encode_batch
from hybrid_asr.inference.evaluate import decode_best, reason_alone, text_of, too_long
from hybrid_asr.inference.words import Word, spelled_words, words_of
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.folder import Run

AUDIO_SUFFIXES = {
    ".wav",
    ".flac",
    ".mp3",
    ".ogg",
    ".opus",
    ".sph",
    ".wv1",
    ".m4a",
    ".aac",
    ".aiff",
    ".aif",
    ".au",
    ".webm",
    ".mp4",
}
T = TypeVar("T")
TOGETHER_S = 120.0  # seconds of audio, with padding, that are decoded at once


@dataclasses.dataclass(frozen=True)
class Transcript:
    """What was said in a file; `words` is empty for a model without a CTC head, which cannot tell times."""

    path: str
    text: str
    score: float
    duration_s: float
    words: tuple[Word, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return dataclasses.asdict(self)


class Recognizer:
    """A trained model, ready to transcribe files."""

    def __init__(self, bundle: Bundle, decoder: DecodeConfig, device: torch.device):
        self.bundle, self.device = bundle, device
        bundle.frontend.to(device).eval()
        bundle.model.to(device).eval()
        self.decoder = decoder_for(bundle, decoder)
        self.longest_s = decoder.longest_s

    def transcribe(self, paths: Iterable[str | Path] | str | Path) -> list[Transcript]:
        """Transcribe files, and all sound files in folders, in their order. Raises UserError that names a bad file."""
        return list(self.stream(paths))

    def stream(
        self, paths: Iterable[str | Path] | str | Path, *, bad: Callable[[Path, UserError], None] | None = None
    ) -> Iterator[Transcript]:
        """The same, each transcript as soon as it is there; with `bad`, a bad file is given to it and left out."""
        rate = self.bundle.frontend.rate
        found = expand([paths] if isinstance(paths, str | Path) else paths)
        lengths = {path: _heeding(lambda path=path: self._seconds(path), path, bad) for path in found}
        good = [(path, seconds) for path in found if (seconds := lengths[path]) is not None]
        for group in _group([path for path, _ in good], [seconds for _, seconds in good]):
            read = [(path, _heeding(lambda path=path: io.read(path, rate=rate), path, bad)) for path in group]
            encoded_batch = [(path, samples) for path, samples in read if samples is not None]
            if encoded_batch:
                yield from self._in_pieces(
                    [path for path, _ in encoded_batch], [samples for _, samples in encoded_batch], bad
                )

    def _seconds(self, path: Path) -> float:
        """How long a file lasts. Raises UserError if the decoder does not take so much."""
        seconds = io.info(path).duration_s
        if seconds > self.longest_s:
            raise UserError(f"{path}: {too_long(seconds, self.longest_s)}")
        return seconds

    def align(self, path: str | Path, text: str, *, units: Unit = "words") -> Aligned:
        """When each word (or label) of a known text was said in a file of any length.

        Raises UserError: no CTC head, characters that the model cannot write, a text that does not fit the audio.
        """
        return align(self.bundle, path, text, self.device, units=units)

    def _in_pieces(
        self, paths: Sequence[Path], samples: Sequence[np.ndarray], bad: Callable[[Path, UserError], None] | None
    ) -> list[Transcript]:
        """All together; where memory runs out, or one of them cannot be decoded, in halves."""

        def failed(row: int, error: UserError) -> None:
            named = UserError(f"{paths[row]}: {reason_alone(error)}")
            if bad is None:
                raise named from error
            bad(paths[row], named)

        def work(rows: list[int]) -> list[Transcript]:
            return self._transcribe([paths[row] for row in rows], [samples[row] for row in rows])

        done: dict[int, Transcript] = {}
        for rows, transcripts in split_on_failure(range(len(paths)), work, failed=failed):
            done |= zip(rows, transcripts, strict=True)
        return [done[row] for row in sorted(done)]

    def _transcribe(self, paths: Sequence[Path], samples: Sequence[np.ndarray]) -> list[Transcript]:
        encoded_batch = encode_batch(self.bundle, samples, self.device)
        best = decode_best(self.decoder, encoded_batch, len(samples))
        words = self._words(encoded_batch, best)
        rate = self.bundle.frontend.rate
        rows = zip(paths, samples, best, words, strict=True)
        return [
            Transcript(str(path), text_of(one, self.bundle.tokenizer), one.score, len(audio) / rate, tuple(spoken))
            for path, audio, one, spoken in rows
        ]

    @torch.inference_mode()
    def _words(self, encoded_batch: EncodedBatch, best: Sequence[Hypothesis]) -> list[list[Word]]:
        """Times of words, by aligning the labels with the CTC posteriors."""
        words: list[list[Word]] = [[] for _ in best]
        if encoded_batch.log_probs is None or encoded_batch.encoded is None:
            return words
        said = [torch.tensor(best[place].labels, dtype=torch.long) for place in encoded_batch.places]
        aligned = ctc_align(
            encoded_batch.log_probs,
            encoded_batch.encoded.frames,
            torch.nn.utils.rnn.pad_sequence(said, batch_first=True).to(self.device),
            torch.tensor([len(labels) for labels in said], device=self.device),
            blank=self.bundle.tokenizer.blank,
        )
        for place, alignment in zip(encoded_batch.places, aligned, strict=True):
            if alignment is not None:
                words[place] = words_of(self.bundle, alignment.spans, spelled_words(best[place]))
        return words


def _heeding(act: Callable[[], T], path: Path, bad: Callable[[Path, UserError], None] | None) -> T | None:
    """What `act` gives; None where `bad` was told that the file is bad."""
    try:
        return act()
    except UserError as error:
        if bad is None:
            raise
        bad(path, error)
        return None


def expand(paths: Iterable[str | Path]) -> list[Path]:
    """Files as they are, folders as their sound files, by name. Raises UserError on what is not there."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
            if not inside:
                raise UserError(
                    f"{path}: no sound files in this folder (looked for {', '.join(sorted(AUDIO_SUFFIXES))})"
                )
            found += inside
        elif not path.is_file():
            raise UserError(f"{path}: no such file or folder; check the path")
        else:
            found.append(path)
    return found


def _group(paths: Sequence[Path], durations: Sequence[float]) -> Iterator[list[Path]]:
    """Neighbors in the list that fit into one batch."""
    group: list[Path] = []
    longest = 0.0
    for path, seconds in zip(paths, durations, strict=True):
        if group and max(longest, seconds) * (len(group) + 1) > TOGETHER_S:
            yield group
            group, longest = [], 0.0
        group.append(path)
        longest = max(longest, seconds)
    if group:
        yield group


def load(
    run: str | Path,
    *,
    checkpoint: str = "average",
    decoder: str | None = None,
    overrides: Sequence[str] = (),
    device: str = "auto",
) -> Recognizer:
    """Load a run's folder (or a model.pt, or a checkpoint file) for transcription.

    `decoder` is a preset of `conf/decode/` (`ctc_greedy`, `attention`, `joint`, …); by default the recipe's own.
    `overrides` are settings such as `decode.beam=40`. Raises UserError that says what is missing.
    """
    path = Path(run)
    bundle = Run(path).bundle(checkpoint)[0] if path.is_dir() else Bundle.load(path)
    for section in ("decode", "presets"):
        if not isinstance(bundle.config.get(section), dict):
            raise UserError(f"{path}: damaged, or of another version of hybrid-asr: 'config.{section}' has no keys")
    parse(DecodeConfig, bundle.config["decode"], where=f"{path}: config.decode")
    cfg = decode_config(bundle, decoder, overrides)
    refuse_unsupported(cfg, bundle.model, bundle.tokenizer.writes)
    return Recognizer(bundle, cfg, pick_device(device))


def decode_config(bundle: Bundle, decoder: str | None, overrides: Sequence[str]) -> DecodeConfig:
    """The settings of a named decoder preset, or of the recipe's own decoder, with overrides."""
    if decoder is None and not overrides:
        return supported_decoder(bundle)
    own = bundle.config["presets"].get("decode", "joint")
    using = {"decode": decoder} if decoder and decoder != own else {}
    tree = {"decode": bundle.config["decode"]}
    composed = amend(tree, overrides, source="the run's configuration", using=using)
    return parse(DecodeConfig, composed.tree["decode"], where="decode")
