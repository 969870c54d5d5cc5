# pyright: reportMissingImports=false
"""A whole set from audio to text with a model that ESPnet trained: by its Speech2Text, and by ours, imported."""

import contextlib
import io as text_io
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from hybrid_asr.common.memory import keep_freed_memory
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.decoding.joint import SearchConfig
from hybrid_asr.inference.batching import MemoryBatching, expected_cost
from hybrid_asr.inference.build_decoder import build_task
from hybrid_asr.inference.device import pick_device
from hybrid_asr.inference.evaluate import evaluate_set
from tools.benchmarks.decoding_work import NbestTexts

BEAM, CTC_WEIGHT = 10, 0.3


class Recognizer(Protocol):
    """What a toolkit must do to be measured; `share` tells that a round is given only a part of the set."""

    share: bool
    manifest: Manifest

    def transcribe(self, places: Sequence[int]) -> Mapping[int, NbestTexts]:
        """Read these utterances of the set and decode them; the words of the best text, and its score."""
        ...


class EspnetRecognizer:
    """ESPnet's Speech2Text, one utterance at a time, all else as it comes."""

    share = True

    def __init__(self, folder: Path, data: Path):
        from espnet2.bin.asr_inference import Speech2Text

        logging.disable(logging.WARNING)
        self.manifest = Manifest.read(data)
        with contextlib.redirect_stdout(text_io.StringIO()):
            self.model = Speech2Text(
                str(folder / "config.yaml"), str(folder / "model.pth"), beam_size=BEAM, ctc_weight=CTC_WEIGHT
            )

    def transcribe(self, places: Sequence[int]) -> Mapping[int, NbestTexts]:
        said = {}
        for place in places:
            text, *_, hypothesis = self.model(self.manifest.read_audio(place, 16000))[0]
            said[place] = [(text.split(), float(hypothesis.score))]
        return said


class OurRecognizer:
    """As `hybrid-asr decode`: read ahead, encode and search in batches, by ESPnet's rules of search or our own."""

    share = False

    def __init__(self, folder: Path, data: Path, search: SearchConfig):
        from hybrid_asr.commands.convert import import_espnet

        keep_freed_memory()
        self.manifest, self.search, self.device = Manifest.read(data), search, pick_device("cpu")
        with tempfile.TemporaryDirectory() as there:
            run = import_espnet(folder / "config.yaml", folder / "model.pth", Path(there) / "imported")
            self.bundle = run.bundle()[0].eval()

    def transcribe(self, places: Sequence[int]) -> Mapping[int, NbestTexts]:
        assert len(places) == len(self.manifest)
        batching = MemoryBatching.for_device(self.device, expected_cost(self.bundle, [self.search]))
        tasks = {"": build_task(self.bundle, self.search, search_errors="ignore")}
        found = evaluate_set(self.bundle, self.manifest, tasks, batching=batching, device=self.device)[""]
        return {item.index: [(item.text.split(), item.score)] for item in found.items}


RECOGNIZERS: dict[str, Callable[[Path, Path], Recognizer]] = {
    "ESPnet 202511": EspnetRecognizer,
    "ours, ESPnet's rules": lambda folder, data: OurRecognizer(
        folder, data, SearchConfig(beam=BEAM, ctc_weight=CTC_WEIGHT, parity="espnet")
    ),
    "ours": lambda folder, data: OurRecognizer(folder, data, SearchConfig(beam=BEAM, ctc_weight=CTC_WEIGHT)),
    "ours, bf16": lambda folder, data: OurRecognizer(
        folder, data, SearchConfig(beam=BEAM, ctc_weight=CTC_WEIGHT, dtype="bfloat16")
    ),
}
