"""The trainings of a study: each variant composed for each seed, and a signature that says when two are the same one.

A run's own signature (run/config.py) is of its settings alone, and a resumed run may average otherwise. Here two
trainings are the same where everything agrees that decides which weights they leave: settings, the contents of what is
read, the weights they start from, which epochs are averaged, and over how many processes gradients are added up.
"""

import dataclasses
from pathlib import Path
from typing import Any

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import find_below
from hybrid_asr.config.compose import compose, digest
from hybrid_asr.config.files import flatten
from hybrid_asr.config.locate import find_recipe, recipes
from hybrid_asr.config.schema import plain
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.inference.decoding_folder import file_digest
from hybrid_asr.run.config import RunConfig, result_settings, weight_settings
from hybrid_asr.run.folder import default_folder
from hybrid_asr.study.config import Control, Study, Variant
from hybrid_asr.study.metric import StudyError

SHUFFLE = 1  # the version of how transcripts are shuffled
_NAMES = ("data.train", "data.valid", "init.from", "seed")  # told by digests, or in its own place
_FILES = ("tokenizer.lexicon",)  # settings that name a file which decides the weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """One training. `name` is for people; `signature` says when it is the same as another.

    `overrides` are those of its recipe, but for what the study decides: where it starts, and shuffled transcripts.
    """

    name: str
    signature: str
    variant: str
    seed: int
    recipe: Path
    overrides: tuple[str, ...]
    cfg: RunConfig
    control: Control | None
    start: "Training | None"
    audio_s: float  # of an epoch, before any speed is changed
    decides: dict[str, Any]  # what the signature is of, in plain containers

    @property
    def depth(self) -> int:
        """How many trainings come before this one."""
        return 0 if self.start is None else self.start.depth + 1

    @property
    def folder_name(self) -> str:
        """Its folder: the name that it had first, and what it is known by."""
        return f"{self.name}-{self.signature[:8]}"


class Trainings:
    """Makes the trainings of a study; each file is read once. A training that others start from is one of them."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._configs: dict[tuple[Path, tuple[str, ...]], RunConfig] = {}
        self._manifests: dict[tuple[Path, ...], Manifest] = {}
        self._digests: dict[Path, str] = {}

    def config(self, variant: Variant) -> RunConfig:
        """The settings of a variant, but for its seed. Raises ConfigError that names bad keys."""
        overrides = variant.trained_with
        key = variant.recipe, overrides
        if key not in self._configs:
            self._configs[key] = compose(variant.recipe, overrides, source=self._study.where).parse(RunConfig)
        return self._configs[key]

    def of(self, variant: Variant, seed: int) -> Training:
        """The training of a variant with a seed. Raises UserError where data, or what it starts from, is not there."""
        return self._training(variant, seed, ())

    def manifest(self, *paths: Path) -> Manifest:
        """A set, of several files as one."""
        if paths not in self._manifests:
            self._manifests[paths] = Manifest.read_all(paths, audio="unchecked")
        return self._manifests[paths]

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file."""
        if path not in self._digests:
            self._digests[path] = file_digest(path)
        return self._digests[path]

    def _training(self, variant: Variant, seed: int, before: tuple[str, ...]) -> Training:
        if variant.name in before:
            raise StudyError(f"init.from leads in a circle: {', '.join([*before, variant.name])}")
        cfg = dataclasses.replace(self.config(variant), seed=seed)
        start, start_identity = None, ""
        if cfg.init.from_:
            other = self._start_variant(cfg.init.from_, variant)
            start = self._training(other, seed, (*before, variant.name)) if other else None
            start_identity = start.signature if start else self._outside(cfg.init.from_)
        root = Path(cfg.data.root)
        train = self.manifest(*(root / entry.manifest for entry in cfg.data.train_manifests))
        decides = self._decides(cfg, train, variant.control, start_identity)
        return Training(
            name=f"{variant.name}-{seed}",
            signature=digest(decides),
            variant=variant.name,
            seed=seed,
            recipe=variant.recipe,
            overrides=(*variant.trained_with, f"seed={seed}"),
            cfg=cfg,
            control=variant.control,
            start=start,
            audio_s=float(train.durations.sum()),
            decides=decides,
        )

    def _decides(self, cfg: RunConfig, train: Manifest, control: Control | None, start: str) -> dict[str, Any]:
        root = Path(cfg.data.root)
        settings = {path: value for path, value in weight_settings(plain(cfg)).items() if path not in _NAMES}
        for path in _FILES:
            if settings.get(path):
                settings[path] = self.digest(find_below(root, settings[path]))
        return {
            "settings": settings,
            "seed": cfg.seed,
            "train": [train.digest, *(entry.weight for entry in cfg.data.train_manifests)],
            "valid": self.manifest(root / cfg.data.valid).digest,
            "control": [control, SHUFFLE] if control else None,
            "start": start,
            "result": result_settings(cfg),
        }

    def _start_variant(self, name: str, variant: Variant) -> Variant | None:
        """What is trained first: another variant, or a recipe whose run is named; None for weights from elsewhere.

        What a control starts from has not heard a true transcript either.
        """
        for other in self._study.variants:
            if other.name == name:
                return dataclasses.replace(other, control=variant.control or other.control)
        for known in recipes():
            recipe = find_recipe(known)
            if default_folder(recipe) == Path(name):
                common = dict(flatten(self._study.cfg.settings))
                return Variant(name=recipe.stem, recipe=recipe, settings=common, metrics=(), control=variant.control)
        return None

    def _outside(self, name: str) -> str:
        path = Path(name) / "model.pt" if Path(name).is_dir() else Path(name)
        if not path.is_file():
            names = ", ".join(f"'{each.name}'" for each in self._study.variants)
            raise UserError(
                f"init.from: '{name}' is no variant of this study ({names}), no run of a recipe (runs/CORPUS/RECIPE), "
                "and no file; name one of these"
            )
        return self.digest(path)
