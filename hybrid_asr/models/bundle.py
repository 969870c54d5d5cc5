"""Everything that decoding needs in one file: front end, model, tokenizer, text rules, the bound on length."""

import dataclasses
import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hybrid_asr.audio.build import FeaturesConfig, build_features
from hybrid_asr.audio.features import FrontEnd, FrontEndUnavailable
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import MISSING, atomic_path, read_problem
from hybrid_asr.config.schema import parse
from hybrid_asr.models.file_checks import cause, check_archive, check_description, check_finite
from hybrid_asr.models.hybrid import HybridModel, ModelConfig, build_model
from hybrid_asr.models.plugin import PluginError
from hybrid_asr.text.normalize import TextConfig
from hybrid_asr.text.tokenizer import Tokenizer, restore_tokenizer

FORMAT = "hybrid-asr model 1"


class BundleError(UserError):
    """A model file that is missing, damaged, or not of hybrid-asr."""


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A trained recognizer. `config` is the run's whole configuration as plain containers.

    `labels_per_frame` is the training set's largest number of labels per encoder frame: it bounds decoding without CTC.
    `labels_per_second` is what 99 % of the training utterances reach: below it a text without CTC is suspiciously
    short. Models of former versions do not state it.
    """

    frontend: FrontEnd
    model: HybridModel
    tokenizer: Tokenizer
    text: TextConfig
    labels_per_frame: float
    config: dict[str, Any]
    labels_per_second: float | None = None

    @classmethod
    def build(
        cls,
        config: dict[str, Any],
        tokenizer: Tokenizer,
        labels_per_frame: float,
        labels_per_second: float | None = None,
    ) -> "Bundle":
        """Build front end and model with fresh weights from torch's default generator."""
        frontend = build_features(parse(FeaturesConfig, config["features"], where="config.features"))
        sizes = parse(ModelConfig, config["model"], where="config.model")
        sizes.encoder.check_features(frontend.seconds_per_frame, frontend.width)
        model = build_model(
            sizes,
            features=frontend.width,
            vocab_size=tokenizer.vocab_size,
            sos=tokenizer.sos,
            ctc_weight=config["loss"]["ctc_weight"],
        )
        text = parse(TextConfig, config["text"], where="config.text")
        return cls(frontend, model, tokenizer, text, labels_per_frame, config, labels_per_second)

    @classmethod
    def _sketch(cls, *parts: Any) -> "Bundle":
        """The same without weights, which takes no memory whatever sizes are claimed."""
        try:
            with torch.device("meta"):
                return cls.build(*parts)
        except RuntimeError as error:
            raise ValueError(f"'config.model' asks for sizes that do not fit into any memory: {error}") from error

    @property
    def frame_s(self) -> float:
        """Seconds from one encoder frame to the next."""
        return self.frontend.seconds_per_frame * self.model.encoder.stride

    def eval(self) -> "Bundle":
        """Turn off what acts in training only (dropout, dither), in place; returns itself."""
        self.frontend.eval()
        self.model.eval()
        return self

    def describe(self) -> dict[str, Any]:
        """Everything but the weights, as plain containers."""
        return {
            "format": FORMAT,
            "config": self.config,
            "tokenizer": self.tokenizer.state(),
            "labels_per_frame": self.labels_per_frame,
            "labels_per_second": self.labels_per_second,
        }

    def weights(self) -> dict[str, Tensor]:
        """All weights under the names `frontend.…` and `model.…`."""
        return {
            f"{part}.{name}": value
            for part in ("frontend", "model")
            for name, value in getattr(self, part).state_dict().items()
        }

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take weights named as in `weights()`; other names are left alone."""
        for part in ("frontend", "model"):
            own = {name.removeprefix(f"{part}."): v for name, v in weights.items() if name.startswith(f"{part}.")}
            getattr(self, part).load_state_dict(own)

    def refuse_misfits(self, weights: dict[str, Tensor]) -> None:
        """Raise ValueError that names a weight which `weights` lack, have in another shape, or have too many."""
        own = self.weights()
        for name, value in own.items():
            if name not in weights:
                raise ValueError(f"Missing key in weights: '{name}'")
            if weights[name].shape != value.shape:
                shapes = f"{tuple(weights[name].shape)} there, {tuple(value.shape)} by its configuration"
                raise ValueError(f"size mismatch for {name.partition('.')[2]}: '{name}' is {shapes}")
        for name in weights:
            if name not in own and name.startswith(("frontend.", "model.")):
                raise ValueError(f"Unexpected key in weights: '{name}'")

    def save(self, path: Path | str) -> None:
        """Write the bundle to one file, whole or not at all; its folder is made where it is missing."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_torch(self.describe() | {"weights": self.weights()}, path)

    @classmethod
    def load(cls, path: Path | str) -> "Bundle":
        """Read what `save` wrote, or a checkpoint of a training. Raises BundleError; runs nothing from the file."""
        content = read_torch(path)
        description = content.get("bundle", content)
        form = description.get("format") if isinstance(description, dict) else None
        if form != FORMAT:
            wrote = f"{form!r}, of another version" if str(form).startswith("hybrid-asr ") else "not a model"
            raise BundleError(f"{path}: {wrote} of hybrid-asr; give a run's folder, its model.pt or a checkpoint")
        return cls.restore(description, content.get("weights", content.get("state_dict", {})), path)

    @classmethod
    def restore(cls, description: dict[str, Any], weights: Any, path: Path | str) -> "Bundle":
        """Build from `describe()` and `weights()` as read from the file `path`. Raises BundleError naming it."""
        try:
            check_description(description, weights)
            tokenizer = restore_tokenizer(description["tokenizer"])
            rates = description["labels_per_frame"], description.get("labels_per_second")
            parts = description["config"], tokenizer, *rates
            cls._sketch(*parts).refuse_misfits(weights)
            with torch.random.fork_rng(devices=[]):  # initial weights are discarded: leave the caller's generator alone
                bundle = cls.build(*parts)
            bundle.load_weights(weights)
            check_finite(bundle.weights())
        except FrontEndUnavailable:
            raise  # nothing is wrong with the file
        except PluginError as error:
            raise BundleError(f"{path}: the model needs a plugin: {error}") from error
        except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
            what = " ".join(str(error).split())
            raise BundleError(f"{path}: damaged, or of another version of hybrid-asr: {what}") from error
        return bundle


class _Recorded:
    """A file that remembers the system's error: torch raises only that something failed."""

    def __init__(self, file: io.RawIOBase) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, and note how much."""
        left = memoryview(data).cast("B")
        try:
            while left:  # a disk may take only the beginning
                left = left[self.file.write(left) or 0 :]
        except OSError as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        """Flush what was written."""
        self.file.flush()


def save_torch(content: dict[str, Any], path: Path | str, *, former: Path | None = None) -> None:
    """Write plain containers and tensors, whole or not at all; what was there before becomes `former`, if given.

    The folder must be there. Raises OSError with the system's reason, also where torch has only a RuntimeError.
    """
    with atomic_path(path, former=former, folder="expect") as temporary, temporary.open("wb", buffering=0) as file:
        recorded = _Recorded(file)
        try:
            torch.save(content, recorded)  # type: ignore[arg-type]  # all that torch needs of a file
        except RuntimeError:
            if recorded.error is None:
                raise
            raise recorded.error from None


_REMEDY = "use another of the run's checkpoints, or begin the training anew with --fresh"


def read_torch(path: Path | str, *, remedy: str = _REMEDY) -> dict[str, Any]:
    """Read a torch file of plain containers and tensors, every checksum in it compared: torch itself compares none.

    Raises BundleError that names the file and what is wrong.
    """
    path = Path(path)
    problem = read_problem(path)
    if problem:
        why = "no such file" if problem == MISSING or path.is_dir() else problem
        raise BundleError(f"{path}: {why}; train first, or name a run's model.pt or checkpoint")
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, path)
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"its record {damaged} does not match its checksum")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file torch may raise anything, IndexError and AssertionError among them
        raise BundleError(f"{path}: damaged, or not a checkpoint ({cause(error, path)}); {remedy}") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path}: holds {type(content).__name__}, not a model of hybrid-asr")
    return content
