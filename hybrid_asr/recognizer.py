"""The Python API: `load(run).transcribe(paths)`; the command line uses it, too."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hybrid_asr.audio import io
from hybrid_asr.audio.folders import AUDIO_SUFFIXES, find_recordings
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import expand_home, why_missing
from hybrid_asr.common.problems import SHOWN
from hybrid_asr.config.schema import parse
from hybrid_asr.decoding.ctc_align import ctc_align
from hybrid_asr.decoding.hypothesis import Hypothesis
from hybrid_asr.inference.align import Aligned, Unit, align
from hybrid_asr.inference.batching import OrderedBatching
from hybrid_asr.inference.build_decoder import DecodeConfig, decoder_for, supported_decoder
from hybrid_asr.inference.device import pick_device
from hybrid_asr.inference.encode import EncodedBatch
from hybrid_asr.inference.evaluate import EvaluatedBatch, evaluate
from hybrid_asr.inference.out_of_memory import split_on_failure
from hybrid_asr.inference.outcomes import text_of
from hybrid_asr.inference.presets import load_decoder, own_decoder
from hybrid_asr.inference.source import AudioFiles
from hybrid_asr.inference.task import DecodingTask, reason_alone, too_long
from hybrid_asr.inference.words import Word, spelled_words, words_of
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.folder import Run
from hybrid_asr.run.nearby import hint_for_run

Refuse = Callable[[Path, UserError], None]
_TASK = "transcribe"
_RECIPE = "a recipe or another configuration; train it (hybrid-asr train {} --folder RUN), then name the run's folder"


@dataclasses.dataclass(frozen=True)
class Transcript:
    """What was said in a file; `words` is empty for a model without a CTC head, which gives no times."""

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

    def transcribe(self, paths: Iterable[str | Path] | str | Path, *, channel: int | None = None) -> list[Transcript]:
        """Transcribe files, and all recordings in folders, in their order.

        Read is the mean of a file's channels, or `channel`, the first of which is 1. Raises UserError that names all
        bad ones.
        """
        return list(self.stream(paths, channel=channel))

    def stream(
        self,
        paths: Iterable[str | Path] | str | Path,
        *,
        channel: int | None = None,
        bad: Refuse | None = None,
        tell: Callable[[str], None] = io.warn,
    ) -> Iterator[Transcript]:
        """The same, each transcript as soon as it is there; with `bad`, a bad file is given to it and left out.

        `tell` gets what is passed over in folders.
        """
        unusable: list[UserError] = []

        def refuse(path: Path, error: UserError) -> None:
            if bad is None:
                raise error
            bad(path, error)

        def note(path: Path, error: UserError) -> None:
            unusable.append(error)
            if bad is not None:
                bad(path, error)

        paths = [paths] if isinstance(paths, str | Path) else paths
        files = self._files(find_recordings(paths, refuse=note, tell=tell), channel, note)
        if unusable and bad is None:
            raise UserError(_together(unusable))
        tasks = {_TASK: DecodingTask(self.decoder)}
        for batch in evaluate(self.bundle, files, tasks, batching=OrderedBatching(), device=self.device):
            for failure in batch.failures:
                refuse(files.paths[failure.index], _named(files.paths[failure.index], failure.error))
            yield from self._transcripts(files, batch, refuse)
            del batch  # its memory is free while the next one is encoded

    def _files(self, paths: Sequence[Path], channel: int | None, refuse: Refuse) -> AudioFiles:
        """The files that the decoder takes, with their durations; the others are refused."""
        durations: dict[int, float] = {}
        for index, path in enumerate(paths):
            try:
                durations[index] = self._seconds(path)
            except UserError as error:
                refuse(path, error)
        return AudioFiles([paths[index] for index in durations], np.array([*durations.values()]), channel)

    def _seconds(self, path: Path) -> float:
        """How long a file lasts. Raises UserError if the decoder does not take so much."""
        seconds = io.info(path).duration_s
        if seconds > self.longest_s:
            raise UserError(f"{path}: {too_long(seconds, self.longest_s)}")
        return seconds

    def align(self, path: str | Path, text: str, *, units: Unit = "words", channel: int | None = None) -> Aligned:
        """When each word (or label) of a known text was said in a file of any length, `channel` as in `transcribe`.

        Raises UserError: no CTC head, characters that the model cannot write, a text that does not fit the audio.
        """
        return align(self.bundle, expand_home(path), text, self.device, units=units, channel=channel)

    def _transcripts(self, files: AudioFiles, batch: EvaluatedBatch, refuse: Refuse) -> Iterator[Transcript]:
        """The transcripts of a batch in its order. A file whose words cannot be aligned is refused."""
        if not batch.results:
            return
        nbests, words = batch.results[_TASK].nbests, dict[int, list[Word]]()
        best = {row: nbests[index][0] for row, index in enumerate(batch.indices) if index in nbests}
        rows = [row for row, index in enumerate(batch.encoded_batch.indices) if index in best]

        def failed(row: int, error: UserError) -> None:
            index = batch.encoded_batch.indices[row]
            del best[index]
            path = files.paths[batch.indices[index]]
            refuse(path, _named(path, error))

        for piece, piece_words in split_on_failure(
            rows, lambda piece: self._words(batch.encoded_batch.pick(piece), best), failed=failed
        ):
            words |= zip((batch.encoded_batch.indices[row] for row in piece), piece_words, strict=True)
        for row, hypothesis in best.items():
            path, text = files.paths[batch.indices[row]], text_of(hypothesis, self.bundle.tokenizer)
            yield Transcript(str(path), text, hypothesis.score, batch.seconds[row], tuple(words.get(row, ())))

    @torch.inference_mode()
    def _words(self, encoded_batch: EncodedBatch, best: Mapping[int, Hypothesis]) -> list[list[Word]]:
        """The words of each row with their times, by aligning the labels with the CTC log probabilities."""
        if encoded_batch.log_probs is None or encoded_batch.encoded is None:
            return [[] for _ in encoded_batch.indices]
        hypotheses = [best[index] for index in encoded_batch.indices]
        labels = [torch.tensor(hypothesis.labels, dtype=torch.long) for hypothesis in hypotheses]
        aligned = ctc_align(
            encoded_batch.log_probs,
            encoded_batch.encoded.frames,
            torch.nn.utils.rnn.pad_sequence(labels, batch_first=True).to(self.device),
            torch.tensor([len(row) for row in labels], device=self.device),
            blank=self.bundle.tokenizer.blank,
        )
        return [
            [] if alignment is None else words_of(self.bundle, alignment.spans, spelled_words(hypothesis))
            for hypothesis, alignment in zip(hypotheses, aligned, strict=True)
        ]


def _named(path: Path, error: UserError) -> UserError:
    """The error with the file's name, which errors of reading have themselves."""
    return error if isinstance(error, io.AudioError) else UserError(f"{path}: {reason_alone(error)}")


def _together(errors: Sequence[UserError]) -> str:
    """The first few messages, and how many there are."""
    more = f"... and {len(errors) - SHOWN} more, {len(errors)} in all"
    return "\n".join([*map(str, errors[:SHOWN]), *[more] * (len(errors) > SHOWN)])


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
    path = expand_home(run)
    refuse_other_files(path)
    bundle = Run(path).bundle(checkpoint)[0] if path.is_dir() else Bundle.load(path)
    for section in ("decode", "presets"):
        if not isinstance(bundle.config.get(section), dict):
            raise UserError(f"{path}: damaged, or of another version of hybrid-asr: 'config.{section}' has no keys")
    parse(DecodeConfig, bundle.config["decode"], where=f"{path}: config.decode")
    return Recognizer(bundle, decode_config(bundle, decoder, overrides), pick_device(device))


def refuse_other_files(path: Path) -> None:
    """Raise UserError for what is no model: a recipe, a run's configuration, a recording, a folder within a run."""
    if not os.path.lexists(path):
        raise UserError(f"{path}: there is no such run or model; {why_missing(path)}; {hint_for_run(path)}")
    if path.suffix in (".yaml", ".yml") and path.is_file():
        of_a_run = Run(path.parent).config_file == path
        what = f"a run's configuration; name the run: {path.parent}" if of_a_run else _RECIPE.format(path)
        raise UserError(f"{path}: is no model, but {what}")
    if path.suffix.lower() in AUDIO_SUFFIXES:
        raise UserError(f"{path}: is no model, but audio by its name; the run comes first, then what is transcribed")
    if path.is_dir() and not Run(path).exists() and Run(path.parent).exists():
        raise UserError(f"{path}: a folder within a run; name the run itself: {path.parent}")


def decode_config(bundle: Bundle, decoder: str | None, overrides: Sequence[str]) -> DecodeConfig:
    """The settings of a named decoder preset, or of the recipe's own decoder, with overrides."""
    if decoder is None and not overrides:
        return supported_decoder(bundle)
    return load_decoder(decoder or own_decoder(bundle.config), bundle.config, overrides)
