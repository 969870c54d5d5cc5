"""The choice of decoders: presets of conf/decode with overrides, limited to those that a model supports."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from hybrid_asr.common.errors import UserError
from hybrid_asr.config.compose import amend, digest
from hybrid_asr.config.files import load_yaml
from hybrid_asr.config.locate import find_preset, presets
from hybrid_asr.config.schema import field_types, parse, plain
from hybrid_asr.inference.build_decoder import DecodeConfig, is_supported, refuse_unsupported
from hybrid_asr.inference.sweep import Sweep
from hybrid_asr.models.bundle import Bundle

ALL = "all"
NBEST = 10  # hypotheses that `all` keeps of each utterance, for the oracle error rate


def load_decoder(name: str, config: dict[str, Any], overrides: Sequence[str] = ()) -> DecodeConfig:
    """The settings of a preset of conf/decode; for the recipe's own decoder, those of the recipe."""
    own = own_decoder(config) == name
    tree = config["decode"] if own else load_yaml(find_preset("decode", name))
    composed = amend({"decode": tree}, overrides, source="the run")
    return parse(DecodeConfig, composed.tree["decode"], where="decode")


def own_decoder(config: dict[str, Any]) -> str:
    """The preset that the recipe names."""
    return config["presets"].get("decode", "joint")


def choose_decoders(
    config: dict[str, Any], names: Sequence[str] | None, overrides: Sequence[str]
) -> dict[str, DecodeConfig]:
    """The settings of each named decoder; an override applies to those that have its key (to all if none has).

    `all` stands for every preset of conf/decode, without those that the overrides make equal to another.
    """
    names = list(names or [own_decoder(config)])
    use_all = ALL in names
    names = presets("decode") if use_all else names
    known = {name: set(field_types(type(load_decoder(name, config)))) for name in names}
    chosen = {}
    for name in names:
        foreign = [
            override
            for override in overrides
            if setting(override) not in known[name] and any(setting(override) in keys for keys in known.values())
        ]
        chosen[name] = load_decoder(name, config, [override for override in overrides if override not in foreign])
    return _distinct(chosen, own_decoder(config)) if use_all else chosen


def decoding_label(
    name: str, settings: DecodeConfig, config: dict[str, Any], checkpoint: str = "average", digests: Sequence[str] = ()
) -> str:
    """The folder of a decoding: the preset's name, with a digest where settings, checkpoint or set (`digests`) differ
    from the run's own."""
    if settings == load_decoder(name, config) and checkpoint == "average" and not digests:
        return name
    return f"{name}-{digest([plain(settings), checkpoint, *digests])[:8]}"


def setting(override: str) -> str:
    """The key of `decode.KEY=VALUE`."""
    return override.partition("=")[0].removeprefix("decode.")


def _distinct(chosen: Mapping[str, DecodeConfig], own: str) -> dict[str, DecodeConfig]:
    """Without duplicates: of decoders with equal settings the recipe's own, else the first."""
    first: dict[str, str] = {}
    for name in sorted(chosen, key=lambda name: name != own):
        first.setdefault(json.dumps(plain(chosen[name]), sort_keys=True), name)
    return {name: settings for name, settings in chosen.items() if name in first.values()}


def valid_decoder(wanted: Literal["auto", "ctc_greedy", "attention", "joint", "lexicon"], bundle: Bundle) -> str:
    """The decoder of the validation set: `auto` is the cheapest that the model supports and that gives words."""
    if wanted != "auto":
        return wanted
    if bundle.tokenizer.writes == "phonemes":
        return "lexicon"
    return "ctc_greedy" if bundle.model.ctc is not None else "attention"


def decoders_for_model(
    bundle: Bundle, config: dict[str, Any], names: Sequence[str] | None, overrides: Sequence[str]
) -> dict[str, DecodeConfig]:
    """The decoders to run with a model: for `all`, those that it supports; without names, the cheapest if a head is
    missing, else the recipe's own.

    Raises DecodeError for a named decoder that the model does not support.
    """
    if names is None and (bundle.model.ctc is None or bundle.model.decoder is None):
        names = [valid_decoder("auto", bundle)]
    chosen = choose_decoders(config, names, overrides)
    if names is not None and ALL in names:
        return {name: settings for name, settings in chosen.items() if is_supported(settings, bundle)}
    for settings in chosen.values():  # now, not by the decoder's builder, which comes after the sets were read
        refuse_unsupported(settings, bundle.model, bundle.tokenizer.writes, scored=True)
    return chosen


def decoders_with_setting(chosen: Mapping[str, DecodeConfig], key: str) -> list[str]:
    """The decoders that have the numeric setting `key`. Raises UserError if none has."""
    names = [
        name
        for name, settings in chosen.items()
        if isinstance(plain(settings).get(key), int | float) and not isinstance(plain(settings)[key], bool)
    ]
    if not names:
        numbers = sorted(
            {
                known_key
                for settings in chosen.values()
                for known_key, value in plain(settings).items()
                if type(value) in (int, float)
            }
        )
        have, they = ("has", "it has") if len(chosen) == 1 else ("have", "they have")
        raise UserError(
            f"--sweep decode.{key}: {', '.join(chosen)} {have} no numeric setting '{key}'; "
            + (f"{they} {', '.join(numbers)}" if numbers else f"{they} none, choose another decoder")
        )
    return names


def decoders_to_sweep(
    chosen: Mapping[str, DecodeConfig], sweep: Sweep, own: str, *, one_of: Literal["kind", "settings"]
) -> list[str]:
    """The decoders that a sweep is run with: those that have its key.

    One of each kind (of `all`), or of those that are equal but for the key: the recipe's own, else the one whose value
    lies within the sweep, else the first.
    """
    names = decoders_with_setting(chosen, sweep.key)
    edges = {min(sweep.values), max(sweep.values)}
    names.sort(key=lambda name: (name != own, plain(chosen[name])[sweep.key] in edges))
    first: dict[str, str] = {}
    for name in names:
        tree = plain(chosen[name])
        group = tree["kind"] if one_of == "kind" else json.dumps(tree | {sweep.key: None}, sort_keys=True)
        first.setdefault(group, name)
    return [name for name in chosen if name in first.values()]
