"""What a study has to do: its distinct trainings in their order, and what each is decoded by; checked as a whole."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from hybrid_asr.common.errors import UserError
from hybrid_asr.config.locate import presets
from hybrid_asr.config.schema import plain
from hybrid_asr.config.words import suggest
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.decoding.hypothesis import DecodeError
from hybrid_asr.inference.build_decoder import refuse_unsupported
from hybrid_asr.inference.presets import ALL, choose_decoders, decoding_label
from hybrid_asr.run.config import RunConfig, set_paths
from hybrid_asr.study.config import Study, Variant
from hybrid_asr.study.metric import Metric, StudyError
from hybrid_asr.study.trainings import Training, Trainings
from hybrid_asr.text.normalize import TextConfig


class Heads(NamedTuple):
    """The heads that a model will have; None is one that it lacks."""

    ctc: bool | None
    decoder: bool | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoding:
    """One decoding of each training of a variant; `label` is the folder's name below decode/<set>/."""

    set_name: str
    decoder: str
    settings: tuple[str, ...]
    label: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedVariant:
    """A variant with its trainings, one for each seed, and its decodings, of which the metric's is the first.

    An outside system has neither; `metric` says against which set and by which rate it counts.
    """

    variant: Variant
    metric: Metric
    text: TextConfig
    trainings: tuple[Training, ...]
    decodings: tuple[Decoding, ...]

    @property
    def name(self) -> str:
        """The variant's."""
        return self.variant.name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a study does. `trainings` are the distinct ones by their signatures, in an order that can be run."""

    study: Study
    variants: tuple[PlannedVariant, ...]
    trainings: dict[str, Training]
    references: dict[str, Manifest]  # the sets that are decoded

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each set's manifest."""
        return {name: manifest.digest for name, manifest in self.references.items()}

    def decodings(self, training: Training) -> tuple[Decoding, ...]:
        """What one training is decoded by, for all variants that it belongs to."""
        found = {
            decoding: None
            for planned in self.variants
            if any(training.signature == one.signature for one in planned.trainings)
            for decoding in planned.decodings
        }
        return tuple(found)


def make_plan(study: Study) -> Plan:
    """Compose and check every variant. Raises StudyError that names all problems, each with its variant."""
    trainings = Trainings(study)
    planned: list[PlannedVariant] = []
    problems: list[str] = []
    references: dict[str, Manifest] = {}
    for variant in study.variants:
        try:
            planned.append(_planned(study, variant, trainings, references))
        except UserError as error:
            problems += [f"variant '{variant.name}': {line}" for line in str(error).splitlines()]
    if not problems:
        problems = _equal_variants(planned)
    if problems:
        raise StudyError("\n".join([*problems, f"({study.where})"]))
    distinct: dict[str, Training] = {}
    for one in planned:
        for training in one.trainings:
            for each in _chain(training):
                distinct.setdefault(each.signature, each)  # under the name that it has first
    ordered = sorted(distinct.values(), key=lambda training: training.depth)
    return Plan(
        study=study,
        variants=tuple(planned),
        trainings={training.signature: training for training in ordered},
        references=references,
    )


def _planned(study: Study, variant: Variant, trainings: Trainings, references: dict[str, Manifest]) -> PlannedVariant:
    cfg = trainings.config(variant)
    metric = next(
        (one for one in variant.metrics if variant.hypotheses or _serves(cfg, variant, one.decoder)), variant.metrics[0]
    )
    named = set_paths(cfg, [metric.set_name])
    if metric.set_name in named:
        named = {metric.set_name: named[metric.set_name]}
    if len(named) != 1:
        raise StudyError(f"metric '{metric}': {metric.set_name} stands for {', '.join(named)}: name one of these")
    metric = metric._replace(set_name=next(iter(named)))
    paths = named | set_paths(cfg, study.cfg.sets)
    for name, path in paths.items():
        manifest = trainings.manifest(path)
        other = references.setdefault(name, manifest)
        if other.digest != manifest.digest:
            raise StudyError(f"its set '{name}' is {path}, that of another variant {other.path}: name one file")
    if variant.hypotheses is not None:
        if not variant.hypotheses.is_file():
            raise StudyError(f"hypotheses: {variant.hypotheses}: no such file")
        return PlannedVariant(variant=variant, metric=metric, text=cfg.text, trainings=(), decodings=())
    _refuse(cfg, variant, [metric.decoder])
    names = presets("decode") if study.cfg.decoders == ALL else study.cfg.decoders
    further = [name for name in names if _serves(cfg, variant, name, metric.decoder)]
    settings = choose_decoders(plain(cfg), [metric.decoder, *further], variant.decoded_with)
    labels = {name: decoding_label(name, each, plain(cfg)) for name, each in settings.items()}
    return PlannedVariant(
        variant=variant,
        metric=metric,
        text=cfg.text,
        trainings=tuple(trainings.of(variant, seed) for seed in study.cfg.seeds),
        decodings=tuple(
            Decoding(set_name=name, decoder=decoder, settings=variant.decoded_with, label=label)
            for name in paths
            for decoder, label in labels.items()
        ),
    )


def _serves(cfg: RunConfig, variant: Variant, *decoders: str) -> bool:
    """Whether the model serves the first decoder; the others say which settings of decoding are known."""
    try:
        _refuse(cfg, variant, decoders)
    except DecodeError:
        return False
    return True


def _refuse(cfg: RunConfig, variant: Variant, decoders: Sequence[str]) -> None:
    """Raise DecodeError where the model that the settings describe has no head, or no words, for the first decoder."""
    known = presets("decode")
    for decoder in decoders:
        if decoder not in known:
            raise StudyError(f"there is no decoder '{decoder}'; {suggest(decoder, known)}")
    weight = cfg.loss.ctc_weight
    heads = Heads(True if weight > 0 else None, True if weight < 1 else None)
    writes = "phonemes" if cfg.tokenizer.kind == "phoneme" else "text"
    settings = choose_decoders(plain(cfg), decoders, variant.decoded_with)[decoders[0]]
    refuse_unsupported(settings, heads, writes, scored=True)


def _chain(training: Training) -> list[Training]:
    """A training and what it starts from, the first one first."""
    return [*(_chain(training.start) if training.start else []), training]


def _equal_variants(planned: Sequence[PlannedVariant]) -> list[str]:
    """Variants that would be the same trainings, decoded in the same way."""
    first: dict[tuple[object, ...], str] = {}
    problems = []
    for one in planned:
        key = one.metric, one.variant.hypotheses, tuple(each.signature for each in one.trainings), one.decodings[:1]
        other = first.setdefault(key, one.name)
        if other != one.name:
            problems.append(
                f"variant '{one.name}': is the same as '{other}': the same trainings, decoded in the same way; change "
                "a setting, or leave one of them out"
            )
    return problems
