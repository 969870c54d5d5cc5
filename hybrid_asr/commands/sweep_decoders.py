"""The sweeps of `hybrid-asr decode`: one setting over many values, for each decoder that has it, in one pass."""

import dataclasses
from typing import Literal

from hybrid_asr.commands.run_decoder import RunDecoder, SetToDecode
from hybrid_asr.config.schema import plain
from hybrid_asr.inference.build_decoder import DecodeConfig, build_sweep_tasks, is_supported, refuse_unsupported
from hybrid_asr.inference.decoding_folder import score_items
from hybrid_asr.inference.presets import decoders_to_sweep, own_decoder
from hybrid_asr.inference.report import DecodingStatistics
from hybrid_asr.inference.sweep import Curve, Purpose, Sweep, SweepRow, Value, curve_file, valid_rows
from hybrid_asr.run.config import set_paths


@dataclasses.dataclass(frozen=True)
class DecoderSweep:
    """The sweep of one decoder: the settings and signature of each value that the model supports, and its rows."""

    name: str
    label: str
    settings: dict[Value, DecodeConfig]
    signatures: dict[Value, str]
    rows: dict[Value, SweepRow]

    def missing(self) -> dict[Value, DecodeConfig]:
        """The values that have no row yet."""
        return {value: cfg for value, cfg in self.settings.items() if value not in self.rows}

    def curve(self, decoder: RunDecoder, sweep: Sweep, on: str) -> Curve:
        """The curve, once all values have their row."""
        purpose: Purpose = "selection" if on == "valid" else "not for selection"
        return Curve(
            set_name=on,
            decoder=self.name,
            label=self.label,
            key=sweep.key,
            metric=decoder.metric,
            own=plain(decoder.chosen[self.name])[sweep.key],
            purpose=purpose,
            rows=tuple(self.rows[value] for value in sorted(self.rows)),
            weights=decoder.weights,
        )


def sweep_decoders(decoder: RunDecoder, sweep: Sweep, on: str, *, one_of: Literal["kind", "settings"]) -> list[Curve]:
    """The curves of the decoders that have the setting, on set `on`; rows of an earlier sweep that still hold stay."""
    to_decode = decoder.read_set(on, set_paths(decoder.cfg, [on])[on])
    names = decoders_to_sweep(decoder.chosen, sweep, own_decoder(plain(decoder.cfg)), one_of=one_of)
    sweeps = [_begin(decoder, name, sweep, to_decode) for name in names]
    tasks = {
        f"{each.name} {sweep.setting(value)}": task
        for each in sweeps
        for value, task in build_sweep_tasks(decoder.bundle, each.missing()).items()
    }
    evaluations = decoder.evaluate(tasks, to_decode)
    for each in sweeps:
        for value, cfg in each.settings.items():
            evaluation = evaluations.get(f"{each.name} {sweep.setting(value)}")
            if evaluation is not None and evaluation.items:
                scores = score_items(evaluation.items, decoder.metric)
                statistics = DecodingStatistics.of(evaluation, cfg, decoder.metric)
                each.rows[value] = SweepRow.of(value, each.signatures[value], scores, statistics)
    return [each.curve(decoder, sweep, on) for each in sweeps]


def _begin(decoder: RunDecoder, name: str, sweep: Sweep, to_decode: SetToDecode) -> DecoderSweep:
    """The sweep of a decoder with what an earlier one has. Raises DecodeError if the model supports no value."""
    bundle = decoder.bundle
    settings = {value: decoder.with_override(name, sweep.setting(value)) for value in sweep.values}
    supported = {value: cfg for value, cfg in settings.items() if is_supported(cfg, bundle)}
    if not supported:
        refuse_unsupported(settings[sweep.values[0]], bundle.model, bundle.tokenizer.writes, scored=True)
    label = decoder.label(name, decoder.chosen[name], to_decode)
    signs = {value: decoder.signatures(cfg, to_decode.manifest).decoding for value, cfg in supported.items()}
    rows = valid_rows(curve_file(decoder.run.folder, to_decode.name, label, sweep.key), signs)
    return DecoderSweep(name, label, supported, signs, rows)
