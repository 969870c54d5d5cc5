"""A study file: a recipe, its variants, seeds, a metric and a baseline; read, and its variants named one by one."""

import dataclasses
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from hybrid_asr.config.files import flatten, load_yaml, scalar
from hybrid_asr.config.locate import display_path, find_recipe
from hybrid_asr.config.schema import ConfigError, config, parse
from hybrid_asr.config.words import suggest
from hybrid_asr.study.metric import Metric, StudyError

Names = str | tuple[str, ...]
Control = Literal["shuffled_transcripts"]
_NAME = re.compile(r"[\w.=,+-]+")  # of a variant: it is in the names of folders


@config
class StudyConfig:
    """What a study file says.

    `variants` are settings of the recipe by the variant's name, as dotted keys or sections; `recipe`, `metric`,
    `control` and `hypotheses` there are the variant's own. `settings` are those of all trainings. Every combination of
    the values in `grid` is one more variant, but for those that an entry of `exclude` describes. Of several metrics a
    variant is judged by the first one that its model serves. `decoders` and `sets` are decoded besides those that the
    metrics name; "all" are all decoders that a model serves.
    """

    metric: Names
    baseline: str
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    recipe: str | None = None
    variants: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    grid: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = dataclasses.field(default_factory=dict)
    exclude: tuple[dict[str, Any], ...] = ()
    decoders: Literal["all"] | tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    about: str = ""

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: each is named once")
        if not self.variants and not self.grid:
            raise ValueError("variants: name at least two, or a grid")


@config
class OwnKeys:
    """The keys of a variant that are no settings of its recipe."""

    recipe: str | None = None
    metric: Names | None = None
    hypotheses: str | None = None
    control: Control | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One variant: settings of a recipe, by their dotted paths, or the hypotheses of an outside system.

    `recipe` is also that of an outside system: its sets are those of the study.
    """

    name: str
    recipe: Path
    settings: dict[str, Any]
    metrics: tuple[Metric, ...]
    hypotheses: Path | None = None
    control: Control | None = None

    @property
    def trained_with(self) -> tuple[str, ...]:
        """Its settings that a training takes, as the command line takes them."""
        return tuple(f"{path}={scalar(value)}" for path, value in self.settings.items() if not _of_decoding(path))

    @property
    def decoded_with(self) -> tuple[str, ...]:
        """Its settings that decoding alone takes."""
        return tuple(f"{path}={scalar(value)}" for path, value in self.settings.items() if _of_decoding(path))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """A study file and the variants that it describes."""

    file: Path
    cfg: StudyConfig
    variants: tuple[Variant, ...]

    @property
    def where(self) -> str:
        """The file, for messages."""
        return display_path(self.file)

    def variant(self, name: str) -> Variant:
        """The variant of this name, which there must be."""
        return next(variant for variant in self.variants if variant.name == name)


def _of_decoding(path: str) -> bool:
    return path.partition(".")[0] == "decode"


def read_study(file: Path) -> Study:
    """Read a study file. Raises ConfigError or StudyError that names every bad key, of variants by their names."""
    file = file.absolute()
    tree = load_yaml(file)
    cfg = parse(StudyConfig, tree, sources={"": display_path(file)})
    problems: list[str] = []
    variants = []
    for name, written in [*cfg.variants.items(), *_grid(cfg)]:
        try:
            variants.append(_variant(file, cfg, name, written))
        except (ConfigError, StudyError) as error:
            problems += _of_variant(name, error)
    if problems:
        raise StudyError("\n".join([*problems, f"({display_path(file)})"]))
    study = Study(file=file, cfg=cfg, variants=tuple(variants))
    _refuse_names(study)
    return study


def _of_variant(name: str, error: Exception) -> list[str]:
    """The lines of an error, each with the variant's name."""
    return [f"variant '{name}': {line}" for line in str(error).splitlines()]


def _grid(cfg: StudyConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """The variants of all combinations, by names such as `ctc_weight=0.3,beam=10`."""
    last = [path.rpartition(".")[2] for path in cfg.grid]
    short = {path: name if last.count(name) == 1 else path for path, name in zip(cfg.grid, last, strict=True)}
    combinations = [dict(zip(cfg.grid, values, strict=True)) for values in itertools.product(*cfg.grid.values())]
    for entry in cfg.exclude:
        if not cfg.grid or not any(_is_like(chosen, entry) for chosen in combinations):
            raise StudyError(f"exclude: {scalar(entry)} is no combination of the grid; leave it out")
    for chosen in combinations if cfg.grid else ():
        if any(_is_like(chosen, entry) for entry in cfg.exclude):
            continue
        yield ",".join(f"{short[path]}={scalar(value)}" for path, value in chosen.items()), chosen


def _is_like(chosen: dict[str, Any], entry: dict[str, Any]) -> bool:
    return all(chosen.get(path, ...) == value for path, value in entry.items())


def _variant(file: Path, cfg: StudyConfig, name: str, written: dict[str, Any]) -> Variant:
    if not _NAME.fullmatch(name):
        raise StudyError("the name is that of folders, too; write it of letters, digits and any of _ . = , + -")
    known = {field.name for field in dataclasses.fields(OwnKeys)}
    own = parse(OwnKeys, {key: value for key, value in written.items() if key in known})
    settings = dict(flatten({key: value for key, value in written.items() if key not in known}))
    if own.hypotheses is not None and (settings or own.control):
        raise StudyError(f"hypotheses: an outside system has no settings; leave out {', '.join(settings) or 'control'}")
    everything = dict(flatten(cfg.settings)) | settings
    if "seed" in everything:
        raise StudyError("seed: the study's 'seeds' say which; leave it out")
    recipe = own.recipe or cfg.recipe
    if recipe is None:
        raise StudyError("recipe: required, but not given; name one for the study or for this variant")
    metrics = own.metric if own.metric is not None else cfg.metric
    return Variant(
        name=name,
        recipe=_recipe(file, recipe),
        settings=everything,
        metrics=tuple(Metric.parse(one) for one in ([metrics] if isinstance(metrics, str) else metrics)),
        hypotheses=None if own.hypotheses is None else file.parent / own.hypotheses,
        control=own.control,
    )


def _recipe(file: Path, recipe: str) -> Path:
    """A recipe beside the study file, else as the command line finds it."""
    beside = file.parent / recipe
    return beside.resolve() if beside.is_file() else find_recipe(recipe)


def _refuse_names(study: Study) -> None:
    names = [variant.name for variant in study.variants]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise StudyError(f"{study.where}: two variants are called '{twice}'; give one of them another name")
    if study.cfg.baseline not in names:
        raise StudyError(
            f"{study.where}: baseline: there is no variant '{study.cfg.baseline}'; {suggest(study.cfg.baseline, names)}"
        )
    if len(names) < 2:
        raise StudyError(f"{study.where}: a study compares: name a second variant beside '{names[0]}'")
