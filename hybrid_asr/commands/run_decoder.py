"""A run's model that decodes sets: one pass for all decoders of a set; reports that are still valid stay."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from hybrid_asr.common.problems import tell_user
from hybrid_asr.config.schema import plain
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.oddities import manifest_oddities
from hybrid_asr.inference.batching import MemoryBatching, expected_cost, refuse_wide_beams
from hybrid_asr.inference.build_decoder import DecodeConfig, build_task, files_read
from hybrid_asr.inference.decoding_folder import earlier_report, file_digest, signatures, write_decoding
from hybrid_asr.inference.device import pick_device
from hybrid_asr.inference.evaluate import evaluate_set
from hybrid_asr.inference.outcomes import Evaluation
from hybrid_asr.inference.presets import choose_decoders, decoding_label
from hybrid_asr.inference.report import DecodingReport, DecodingSource, Signatures
from hybrid_asr.inference.task import DecodingTask
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.config import RunConfig, set_paths
from hybrid_asr.run.folder import Run
from hybrid_asr.scoring.scores import Metric

MOST_SHOWN = 20  # utterances that failed


class SetToDecode(NamedTuple):
    """A set by its name. `digests` has its manifest's where it is another than the run's own set of this name."""

    name: str
    manifest: Manifest
    digests: list[str]


class RunDecoder:
    """The model of a run on a device, and what the sets and sweeps of one command have in common.

    `overrides` are settings of section `decode` for all `chosen` decoders. Raises UserError of a beam that the memory
    is too small for.
    """

    def __init__(
        self,
        run: Run,
        cfg: RunConfig,
        bundle: Bundle,
        weights: str,
        *,
        checkpoint: str,
        overrides: Sequence[str],
        chosen: Mapping[str, DecodeConfig],
    ):
        self.run, self.cfg, self.bundle, self.weights = run, cfg, bundle, weights
        self.checkpoint, self.overrides, self.chosen = checkpoint, overrides, chosen
        self.metric: Metric = cfg.metric
        self.device = pick_device("auto" if cfg.trainer.accelerator != "cpu" else "cpu")
        if cfg.trainer.accelerator == "gpu" and self.device.type == "cpu":
            print("note: trainer.accelerator is gpu, and no GPU is visible here: decoding on the CPU", file=sys.stderr)
        self._looked_at: set[str] = set()  # manifests whose transcripts have been
        self.failures: dict[tuple[str, str, str], list[str]] = {}  # (set, utterance, reason) -> decoders
        if cfg.trainer.given_threads:
            torch.set_num_threads(cfg.trainer.given_threads)
        bundle.frontend.to(self.device).eval()
        bundle.model.to(self.device).eval()
        self.batching = MemoryBatching.for_device(self.device, expected_cost(bundle, [*chosen.values()]))
        refuse_wide_beams(bundle, chosen, self.device)

    def read_set(self, name: str, path: Path) -> SetToDecode:
        """A set, and its digest where it is another than the run's own of this name: its results lie elsewhere.

        Where the run's own set is not there any more, as on another machine, the given one is taken for it.
        """
        manifest = Manifest.read(path, audio="unchecked")  # what cannot be read is named, the others go on
        own = set_paths(self.run.read_config(), ("train", "valid", "test")).get(name)
        same = own is None or not own.is_file() or file_digest(own) == manifest.digest
        return SetToDecode(name, manifest, [] if same else [manifest.digest])

    def with_override(self, name: str, override: str) -> DecodeConfig:
        """The settings of a chosen decoder with one more override."""
        return choose_decoders(plain(self.cfg), list(self.chosen), [*self.overrides, override])[name]

    def label(self, name: str, settings: DecodeConfig, to_decode: SetToDecode) -> str:
        """The folder of a decoding: the preset's name, with a digest where settings, checkpoint or set are others."""
        return decoding_label(name, settings, plain(self.cfg), self.checkpoint, to_decode.digests)

    def signatures(self, settings: DecodeConfig, manifest: Manifest) -> Signatures:
        """What the result of a decoding depends on."""
        files = files_read(self.bundle, settings)
        read = [file_digest(path) for path in files if path.is_file()]
        return signatures(settings, self.weights, [manifest.digest, self.bundle.text.name(), self.metric, *read])

    def decode_set(
        self, to_decode: SetToDecode, settings: Mapping[str, DecodeConfig], *, nbest: int, search_errors: bool
    ) -> dict[str, DecodingReport]:
        """The reports of a set by `<set>/<label>`: one pass for what has no valid report yet.

        Each utterance keeps up to `nbest` texts, or as many as the settings say. With `search_errors` each search is
        compared with one of twice the beam.
        """
        folder, manifest = self.run.folder / "decode" / to_decode.name, to_decode.manifest
        settings = {label: cfg.with_texts(nbest) for label, cfg in settings.items()}
        signs = {label: self.signatures(cfg, manifest) for label, cfg in settings.items()}
        reports: dict[str, DecodingReport] = {}
        for label, cfg in settings.items():
            compared = search_errors and cfg.wider() is not None
            report = earlier_report(folder / label, signs[label], nbest=cfg.texts, search_errors=compared)
            if report is not None:
                reports[label] = report
        tasks = {
            label: build_task(self.bundle, cfg, search_errors="count" if search_errors else "ignore")
            for label, cfg in settings.items()
            if label not in reports
        }
        for label, evaluation in self.evaluate(tasks, to_decode).items():
            (folder / label / "report.json").unlink(missing_ok=True)
            if evaluation.items:
                source = DecodingSource(self.checkpoint, manifest.path.as_posix(), manifest.digest)
                reports[label] = write_decoding(
                    folder / label, evaluation, settings[label], signs[label], self.metric, source
                )
        return {f"{to_decode.name}/{label}": reports[label] for label in settings if label in reports}

    def evaluate(self, tasks: Mapping[str, DecodingTask], to_decode: SetToDecode) -> dict[str, Evaluation]:
        """Decode a set by all tasks in one pass and remember what failed."""
        if not tasks:
            return {}
        self._tell_oddities(to_decode)
        evaluations = evaluate_set(self.bundle, to_decode.manifest, tasks, batching=self.batching, device=self.device)
        for label, evaluation in evaluations.items():
            for failed in evaluation.failed:
                self.failures.setdefault((to_decode.name, failed.id, failed.reason), []).append(label)
        return evaluations

    def _tell_oddities(self, to_decode: SetToDecode) -> None:
        """What is odd in the references of a set, once: it decides their rates."""
        manifest = to_decode.manifest
        if manifest.digest in self._looked_at:
            return
        self._looked_at.add(manifest.digest)
        for oddity in manifest_oddities(manifest, of=to_decode.name, spelling=self.bundle.text):
            tell_user(f"{'warning' if oddity.doubtful else 'note'}: {oddity.text}")

    def failure_text(self) -> str:
        """The utterances that failed, and of which decoders."""
        lines = [
            f"{set_name}: utterance '{key}': {reason} [{', '.join(labels[:4])}{', …' * (len(labels) > 4)}]"
            for (set_name, key, reason), labels in self.failures.items()
        ]
        more = len(lines) - MOST_SHOWN
        shown = lines[:MOST_SHOWN] + [f"… and {more} more, in report.json"] * (more > 0)
        count = len({(set_name, key) for set_name, key, _ in self.failures})
        head = f"{count} {'utterance' if count == 1 else 'utterances'} could not be decoded; all rates are of the rest"
        return "\n".join([head, *shown])
