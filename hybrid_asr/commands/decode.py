"""`hybrid-asr decode`: sets x decoders of a run in one pass a set; what is still valid stays."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from hybrid_asr.commands.run_decoder import RunDecoder
from hybrid_asr.commands.sweep_decoders import sweep_decoders
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.memory import keep_freed_memory
from hybrid_asr.config.compose import amend, check_overrides
from hybrid_asr.config.locate import presets
from hybrid_asr.config.schema import plain
from hybrid_asr.config.words import suggest
from hybrid_asr.inference.presets import (
    ALL,
    NBEST,
    choose_decoders,
    decoders_for_model,
    decoders_with_setting,
    own_decoder,
    setting,
)
from hybrid_asr.inference.report import DecodingReport
from hybrid_asr.inference.report_table import table
from hybrid_asr.inference.sweep import Curve, Sweep, parse_sweep
from hybrid_asr.pages.run_page import refresh
from hybrid_asr.run.config import RunConfig, set_paths, weight_settings
from hybrid_asr.run.folder import Run

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
    """Decode `sets` with `decoders` (`all`: every preset that the model supports), each set in one pass.

    `sweep`, such as `decode.ctc_weight=0:1:0.1`, first runs the decoders that know the key with each value on
    `sweep_on`, and applies the best of the validation set once. `search_errors` compares each search with one of twice
    the beam; "auto" does so for `all`.

    Returns the reports by `<set>/<decoder>` and prints one table. Raises UserError before anything is decoded: a wrong
    set, decoder or setting, a model that does not support one; and at the end, when all else is written, naming the
    utterances that could not be decoded.
    """
    check_overrides(overrides)
    run = Run(folder)
    cfg = _amended(run.read_config(), [override for override in overrides if not override.startswith("decode.")])
    settings = [override for override in overrides if override.startswith("decode.")]
    paths, wanted = set_paths(cfg, sets), None if sweep is None else parse_sweep(sweep)
    _check_settings(cfg, decoders, settings, wanted, sweep_on)
    keep_freed_memory()
    bundle, weights = run.bundle(checkpoint)
    chosen = decoders_for_model(bundle, plain(cfg), decoders, settings)
    decoder = RunDecoder(run, cfg, bundle, weights, checkpoint=checkpoint, overrides=settings, chosen=chosen)
    every = decoders is not None and ALL in decoders
    one_of: Literal["kind", "settings"] = "kind" if every else "settings"
    curves = [] if wanted is None else sweep_decoders(decoder, wanted, sweep_on, one_of=one_of)
    nbest = NBEST if every and not any(setting(override) == "nbest" for override in settings) else 1
    compared = every if search_errors == "auto" else search_errors == "on"
    reports, applied = _decode_sets(decoder, paths, curves, nbest=nbest, search_errors=compared)
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
    if decoder.failures:
        raise UserError(decoder.failure_text())
    return reports


def _check_settings(
    cfg: RunConfig, decoders: Sequence[str] | None, settings: Sequence[str], sweep: Sweep | None, sweep_on: str
) -> None:
    """Raise UserError for a wrong decoder, setting, value or set before a large model is read."""
    known = [*presets("decode"), own_decoder(plain(cfg)), ALL]
    if unknown := [name for name in decoders or () if name not in known]:
        raise UserError(f"--decoders {unknown[0]}: there is no such decoder; {suggest(unknown[0], known)}")
    chosen = choose_decoders(plain(cfg), decoders, settings)
    if sweep is not None:
        set_paths(cfg, [sweep_on])
        decoders_with_setting(chosen, sweep.key)
        for value in sweep.values:  # 1.5 is no weight
            choose_decoders(plain(cfg), list(chosen), [*settings, sweep.setting(value)])


def _decode_sets(
    decoder: RunDecoder, paths: Mapping[str, Path], curves: Sequence[Curve], *, nbest: int, search_errors: bool
) -> tuple[dict[str, DecodingReport], dict[str, dict[str, str]]]:
    """Decode all sets with the chosen decoders, and with the best value of each curve that has one.

    Gives the reports by `<set>/<label>`, and for each curve's decoder the label by set.
    """
    curves = [curve for curve in curves if curve.best is not None]
    reports: dict[str, DecodingReport] = {}
    applied: dict[str, dict[str, str]] = {curve.decoder: {} for curve in curves}
    for set_name, path in paths.items():
        to_decode = decoder.read_set(set_name, path)
        settings = {decoder.label(name, cfg, to_decode): cfg for name, cfg in decoder.chosen.items()}
        for curve in curves:
            best = decoder.with_override(curve.decoder, f"decode.{curve.key}={curve.best}")
            label = decoder.label(curve.decoder, best, to_decode)
            settings.setdefault(label, best)
            applied[curve.decoder][set_name] = label
        reports |= decoder.decode_set(to_decode, settings, nbest=nbest, search_errors=search_errors)
    return reports, applied


def _amended(cfg: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """The run's configuration with changes of what decides no weight."""
    decides = weight_settings(plain(cfg))
    for override in overrides:
        key = override.partition("=")[0]
        if any(f"{path}.".startswith(f"{key}.") for path in decides):
            raise UserError(
                f"{key}: decides the weights of the run, it cannot be changed when decoding; decode.* and data.test can"
            )
    return amend(plain(cfg), overrides, source="the run").parse(RunConfig) if overrides else cfg
