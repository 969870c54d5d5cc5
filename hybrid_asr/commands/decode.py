"""`hybrid-asr decode`: sets x decoders of a run in one pass a set; what is still valid stays."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.memory import keep_freed_memory
from hybrid_asr.config.compose import amend, digest
from hybrid_asr.config.schema import plain
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.inference.batching import Batching, expected_cost, pick_device, refuse_wide_beams
from hybrid_asr.inference.build import (
    DecodeConfig,
    files_read,
    is_supported,
    job_for,
    jobs_of_values,
    refuse_unsupported,
    wider,
)
from hybrid_asr.inference.decoding_folder import (
    earlier_report,
    file_digest,
    score_items,
    signatures,
    write_decoding,
)
from hybrid_asr.inference.evaluate import Evaluation, Job, evaluate_all
from hybrid_asr.inference.presets import (
    ALL,
    NBEST,
    choose_decoders,
    chosen_for,
    known_to,
    load_decoder,
    own_decoder,
    setting,
    swept,
    with_nbest,
)
from hybrid_asr.inference.report import DecodingReport, DecodingStatistics, Signatures
from hybrid_asr.inference.report_table import table
from hybrid_asr.inference.sweep import Curve, Purpose, Sweep, SweepRow, Value, curve_file, earlier_rows, parse_sweep
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.pages.run_page import refresh
from hybrid_asr.run.config import RunConfig, deciding, set_paths
from hybrid_asr.run.folder import Run
from hybrid_asr.scoring.scores import Metric

TOLD = 20  # utterances that failed
SearchErrors = Literal["auto", "on", "off"]


def decode_run(
    folder: Path,
    *,
    sets: Sequence[str] = ("test",),
    decoders: Sequence[str] | None = None,
    checkpoint: str = "average",
    overrides: Sequence[str] = (),
    sweep: str | None = None,
    sweep_on: str = "valid",
    search_errors: SearchErrors = "auto",
) -> dict[str, DecodingReport]:
    """Decode `sets` with `decoders` (`all`: every preset that the model serves), each set in one pass.

    `sweep`, such as `decode.ctc_weight=0:1:0.1`, first runs the decoders that know the key with each value on
    `sweep_on`, and applies the best of the validation set once. `search_errors` compares each search with one of twice
    the beam; "auto" does so for `all`.

    Returns the reports by `<set>/<decoder>` and prints one table. Raises UserError before anything is decoded: a wrong
    set, decoder or setting, a model that cannot serve one; and at the end, when all else is written, naming the
    utterances that could not be decoded.
    """
    run = Run(folder)
    cfg = _amended(run.read_config(), [one for one in overrides if not one.startswith("decode.")])
    settings = [one for one in overrides if one.startswith("decode.")]
    paths = set_paths(cfg, sets)
    wanted = parse_sweep(sweep) if sweep is not None else None
    early = choose_decoders(plain(cfg), decoders, settings)  # a typo is found before a large model is read
    if wanted is not None:
        set_paths(cfg, [sweep_on])
        known_to(early, wanted.key)
        for value in wanted.values:  # 1.5 is no weight
            choose_decoders(plain(cfg), list(early), [*settings, wanted.setting(value)])
    keep_freed_memory()
    bundle, weights = run.bundle(checkpoint)
    chosen = chosen_for(bundle, plain(cfg), decoders, settings)
    everyone = decoders is not None and ALL in decoders
    work = _Work(run, cfg, bundle, weights, checkpoint, settings)
    work.nbest = NBEST if everyone and not any(setting(one) == "nbest" for one in settings) else 1
    work.search_errors = everyone if search_errors == "auto" else search_errors == "on"
    work.expect(chosen)
    curves = [] if wanted is None else work.sweep(chosen, wanted, sweep_on, "kind" if everyone else "settings")
    reports, applied = work.decode(paths, chosen, [curve for curve in curves if curve.best is not None])
    for curve in curves:
        curve = dataclasses.replace(curve, applied=applied.get(curve.decoder, {}))
        curve.write(run.folder)
        print(f"{curve.text()}\n")
    if reports:
        print(table(reports))
    for curve in curves:
        for set_name, label in applied.get(curve.decoder, {}).items():
            best = f"decode.{curve.key}={curve.best:g}"
            print(f"{set_name}/{label}: {best}, the best of {curve.decoder} on {curve.set_name}.")
    refresh(run)
    if work.failures:
        raise UserError(work.told())
    return reports


class _Work:
    """What the sets and the sweeps of one command share."""

    def __init__(
        self, run: Run, cfg: RunConfig, bundle: Bundle, weights: str, checkpoint: str, settings: Sequence[str]
    ):
        self.run, self.cfg, self.bundle, self.weights = run, cfg, bundle, weights
        self.checkpoint, self.settings = checkpoint, settings
        self.nbest, self.search_errors = 1, False
        self.metric: Metric = cfg.metric
        self.device = pick_device("auto" if cfg.trainer.accelerator != "cpu" else "cpu")
        self.failures: dict[tuple[str, str, str], list[str]] = {}  # (set, utterance, reason) -> decoders
        if cfg.trainer.threads:
            torch.set_num_threads(cfg.trainer.threads)
        bundle.frontend.to(self.device).eval()
        bundle.model.to(self.device).eval()

    def expect(self, settings: Mapping[str, DecodeConfig]) -> None:
        """Estimate what batches take. Raises UserError of a beam that one utterance alone has no memory for."""
        self.room = Batching.of(self.device, expected_cost(self.bundle, [*settings.values()]))
        refuse_wide_beams(self.bundle, settings, self.device)

    def sweep(
        self, chosen: Mapping[str, DecodeConfig], wanted: Sweep, on: str, one_of: Literal["kind", "settings"]
    ) -> list[Curve]:
        """The curves of the decoders that know the key, in one pass; rows of an earlier sweep that hold stay."""
        manifest, foreign = self._manifest(on, set_paths(self.cfg, [on])[on])
        begun: list[_Begun] = []
        for name in swept(chosen, wanted, own_decoder(plain(self.cfg)), one_of=one_of):
            values = {value: self._with(chosen, name, wanted.setting(value)) for value in wanted.values}
            served = {value: one for value, one in values.items() if is_supported(one, self.bundle)}
            if not served:
                refuse_unsupported(
                    values[wanted.values[0]], self.bundle.model, self.bundle.tokenizer.writes, scored=True
                )
            label = self._label(name, chosen[name], foreign)
            signs = {value: self._sign(one, manifest).decoding for value, one in served.items()}
            rows = earlier_rows(curve_file(self.run.folder, on, label, wanted.key), signs)
            begun.append(_Begun(name, label, served, signs, rows))
        jobs = {
            f"{one.name} {wanted.setting(value)}": job
            for one in begun
            for value, job in jobs_of_values(self.bundle, one.missing()).items()
        }
        found = self._evaluate(jobs, manifest, on)
        purpose: Purpose = "selection" if on == "valid" else "not for selection"
        for one in begun:
            for value, settings in one.served.items():
                done = found.get(f"{one.name} {wanted.setting(value)}")
                if done is not None and done.items:
                    scores = score_items(done.items, self.metric)
                    statistics = DecodingStatistics.of(done, settings, self.metric)
                    one.rows[value] = SweepRow.of(value, one.signs[value], scores, statistics)
        return [
            Curve(
                set_name=on,
                decoder=one.name,
                label=one.label,
                key=wanted.key,
                metric=self.metric,
                own=plain(chosen[one.name])[wanted.key],
                purpose=purpose,
                rows=tuple(one.rows[value] for value in sorted(one.rows)),
                weights=self.weights,
            )
            for one in begun
        ]

    def decode(
        self, paths: Mapping[str, Path], chosen: Mapping[str, DecodeConfig], curves: Sequence[Curve]
    ) -> tuple[dict[str, DecodingReport], dict[str, dict[str, str]]]:
        """Decode all sets with all decoders, and with the best value of each curve.

        Gives the reports by `<set>/<label>`, and of each curve's decoder the label by set.
        """
        reports: dict[str, DecodingReport] = {}
        applied: dict[str, dict[str, str]] = {curve.decoder: {} for curve in curves}
        for set_name, path in paths.items():
            manifest, foreign = self._manifest(set_name, path)
            wishes = {self._label(name, settings, foreign): settings for name, settings in chosen.items()}
            for curve in curves:
                best = self._with(chosen, curve.decoder, f"decode.{curve.key}={curve.best}")
                label = self._label(curve.decoder, best, foreign)
                wishes.setdefault(label, best)
                applied[curve.decoder][set_name] = label
            reports |= self._decode_set(set_name, manifest, wishes)
        return reports, applied

    def _decode_set(
        self, set_name: str, manifest: Manifest, wishes: Mapping[str, DecodeConfig]
    ) -> dict[str, DecodingReport]:
        """One pass for what has no valid report yet."""
        place = self.run.folder / "decode" / set_name
        wishes = {label: with_nbest(settings, self.nbest) for label, settings in wishes.items()}
        reports: dict[str, DecodingReport] = {}
        for label, settings in wishes.items():
            look = self.search_errors and wider(settings) is not None
            nbest = plain(settings).get("nbest", 1)
            found = earlier_report(place / label, self._sign(settings, manifest), nbest=nbest, search_errors=look)
            if found is not None:
                reports[label] = found
        missing = {label: settings for label, settings in wishes.items() if label not in reports}
        jobs = {label: job_for(self.bundle, one, search_errors=self.search_errors) for label, one in missing.items()}
        done = self._evaluate(jobs, manifest, set_name)
        for label, found in done.items():
            (place / label / "report.json").unlink(missing_ok=True)
            if found.items:
                sign = self._sign(wishes[label], manifest)
                reports[label] = write_decoding(place / label, found, wishes[label], sign, self.metric)
        return {f"{set_name}/{label}": reports[label] for label in wishes if label in reports}

    def _evaluate(self, jobs: Mapping[str, Job], manifest: Manifest, set_name: str) -> dict[str, Evaluation]:
        """Decode in one pass and remember what failed."""
        if not jobs:
            return {}
        found = evaluate_all(self.bundle, jobs, manifest, device=self.device, room=self.room)
        for label, one in found.items():
            for failed in one.failed:
                self.failures.setdefault((set_name, failed.id, failed.reason), []).append(label)
        return found

    def told(self) -> str:
        """The utterances that failed, and of which decoders."""
        lines = [
            f"{set_name}: utterance '{key}': {reason} [{', '.join(labels[:4])}{', …' * (len(labels) > 4)}]"
            for (set_name, key, reason), labels in self.failures.items()
        ]
        shown = lines[:TOLD] + [f"… and {len(lines) - TOLD} more, in report.json"] * (len(lines) > TOLD)
        count = len({(set_name, key) for set_name, key, _ in self.failures})
        head = f"{count} {'utterance' if count == 1 else 'utterances'} could not be decoded; all rates are of the rest"
        return "\n".join([head, *shown])

    def _with(self, chosen: Mapping[str, DecodeConfig], name: str, override: str) -> DecodeConfig:
        """A chosen decoder with one more setting."""
        return choose_decoders(plain(self.cfg), list(chosen), [*self.settings, override])[name]

    def _manifest(self, set_name: str, path: Path) -> tuple[Manifest, list[str]]:
        """A set, and its digest where it is another than the run's own of this name: its results lie elsewhere.

        Where the run's own set is not there any more, as on another machine, the given one is taken for it.
        """
        manifest = Manifest.read(path, audio="unchecked")  # what cannot be read is named, the others go on
        own = set_paths(self.run.read_config(), ("train", "valid", "test")).get(set_name)
        same = own is None or not own.is_file() or file_digest(own) == manifest.digest
        return manifest, [] if same else [manifest.digest]

    def _label(self, name: str, settings: DecodeConfig, foreign: Sequence[str]) -> str:
        """The folder of a decoding: the preset's name, with a digest where settings, checkpoint or set are others."""
        if settings == load_decoder(name, plain(self.cfg)) and self.checkpoint == "average" and not foreign:
            return name
        return f"{name}-{digest([plain(settings), self.checkpoint, *foreign])[:8]}"

    def _sign(self, settings: DecodeConfig, manifest: Manifest) -> Signatures:
        files = files_read(self.bundle, settings)
        read = [file_digest(path) for path in files if path.is_file()]
        return signatures(settings, self.weights, [manifest.digest, self.bundle.text.rules, self.metric, *read])


class _Begun(NamedTuple):
    """The sweep of one decoder."""

    name: str
    label: str
    served: dict[Value, DecodeConfig]
    signs: dict[Value, str]
    rows: dict[Value, SweepRow]

    def missing(self) -> dict[Value, DecodeConfig]:
        """The values that have no row yet."""
        return {value: settings for value, settings in self.served.items() if value not in self.rows}


def _amended(cfg: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """The run's configuration with changes of what decides no weight."""
    decides = deciding(plain(cfg))
    for override in overrides:
        key = override.partition("=")[0]
        if any(f"{path}.".startswith(f"{key}.") for path in decides):
            raise UserError(
                f"{key}: decides the weights of the run, it cannot be changed when decoding; decode.* and data.test can"
            )
    return amend(plain(cfg), overrides, source="the run").parse(RunConfig) if overrides else cfg
