"""A run: the configuration that names every section, and the folder where everything about it lies."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import UNFINISHED, write_text
from hybrid_asr.common.lock import LOCK
from hybrid_asr.config.files import flatten, load_yaml, to_yaml
from hybrid_asr.config.schema import parse, plain
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.config import ADDED, RunConfig, weight_settings
from hybrid_asr.run.former_defaults import as_it_began
from hybrid_asr.run.more_epochs import other_length, refuse_other_length
from hybrid_asr.run.nearby import hint_for_run
from hybrid_asr.training.checkpoint import BEST, LAST, Checkpoints, remove_checkpoints
from hybrid_asr.training.status import TrainingStatus, read_status


class RunError(UserError):
    """A run folder that cannot be used; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Run:
    """The folder of a run."""

    folder: Path

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.folder / "config.yaml"

    @property
    def model_file(self) -> Path:
        """The averaged model of a finished training."""
        return self.folder / "model.pt"

    @property
    def metrics_file(self) -> Path:
        """One row for every few steps and each validation."""
        return self.folder / "metrics.csv"

    @property
    def status_file(self) -> Path:
        """The training's `status.json`."""
        return self.folder / "status.json"

    @property
    def run_id_file(self) -> Path:
        """By which Weights & Biases knows this run."""
        return self.folder / "wandb.id"

    @property
    def nonfinite_file(self) -> Path:
        """The updates that were left out since they were not finite."""
        return self.folder / "nonfinite.jsonl"

    @property
    def attention_file(self) -> Path:
        """What was measured of attention after each validation."""
        return self.folder / "attention.jsonl"

    @property
    def attention_folder(self) -> Path:
        """The pictures of attention after each validation."""
        return self.folder / "attention"

    @property
    def origin_file(self) -> Path:
        """Where an imported model came from."""
        return self.folder / "imported.json"

    @property
    def page_file(self) -> Path:
        """The page of the run."""
        return self.folder / "report.html"

    @property
    def checkpoint_folder(self) -> Path:
        """The states to resume from and the weights of chosen epochs."""
        return self.folder / "checkpoints"

    def exists(self) -> bool:
        """Whether a training has begun here."""
        return self.config_file.is_file()

    def status(self) -> TrainingStatus | None:
        """What `status.json` says, None without a sound one; "killed" where it ran and its process is dead."""
        return read_status(self.status_file)

    def read_config(self) -> RunConfig:
        """The configuration with which the run was trained. Raises RunError where there is none."""
        if not self.exists():
            raise RunError(f"{self.folder}: not a run, no config.yaml; {hint_for_run(self.folder)}")
        return parse(RunConfig, as_it_began(load_yaml(self.config_file)), sources={"": self.config_file.as_posix()})

    def written_settings(self) -> dict[str, Any]:
        """The settings that config.yaml says, by their dotted paths; none where there is no run."""
        return dict(flatten(load_yaml(self.config_file))) if self.exists() else {}

    def refuse_unless_run_or_empty(self) -> None:
        """Raise RunError if something else than a run lies here."""
        if self.folder.exists() and not self.folder.is_dir():
            raise RunError(f"{self.folder}: a file, not a folder; give another --folder")
        if self.exists() or not self.folder.is_dir():
            return
        if not all(path.name == LOCK or path.match(UNFINISHED) for path in self.folder.iterdir()):
            raise RunError(f"{self.folder}: not empty and not a run; give another --folder")

    def clear(self) -> None:
        """Forget the training that lies here, its checkpoints first; its configuration stays until one replaces it."""
        remove_checkpoints(self.checkpoint_folder)
        for name in ("decode", "tensorboard", "attention"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for path in (
            *(self.metrics_file, self.model_file, self.status_file, self.nonfinite_file, self.attention_file),
            *(self.run_id_file, self.page_file),
        ):
            path.unlink(missing_ok=True)

    def write_config(self, cfg: RunConfig) -> None:
        """Keep the resolved configuration."""
        write_text(self.config_file, to_yaml(plain(cfg)))

    def refuse_changed_config(self, cfg: RunConfig, begin_anew: str | None = None) -> None:
        """Raise RunError if this folder belongs to a training with other weights.

        Given the command `begin_anew`, a longer training is allowed where no step depends on its length.
        """
        former = self.read_config()
        ours, theirs = weight_settings(plain(cfg)), weight_settings(plain(former))
        longer = other_length(cfg, former)
        if begin_anew is not None and longer and ours == theirs | longer:
            status = self.status()
            finished = status is not None and status.state == "finished"
            if refusal := refuse_other_length(
                cfg, former.trainer.length[1], str(self.folder), begin_anew, finished=finished
            ):
                raise RunError(refusal)
            return
        differing = [
            f"{path}: {_shown(theirs, path)} there, {_shown(ours, path)} now"
            for path in sorted(ours.keys() | theirs.keys(), key=lambda path: (not path.endswith(".kind"), path))
            if ours.get(path) != theirs.get(path)
        ]
        if differing:
            shown = "\n  ".join(differing[:8] + ["…"] * (len(differing) > 8))
            raise RunError(
                f"{self.folder}: holds a training with another configuration:\n  {shown}\n"
                "give --folder DIR for a folder of its own, or --fresh to start this one anew"
            )

    def bundle(self, checkpoint: str = "average") -> tuple[Bundle, str]:
        """The model of a checkpoint and the digest of its weights.

        `average` is model.pt, or the mean of the epochs so far where training has not ended; `best`, `last` or a path.
        """
        if checkpoint == "average" and self.model_file.is_file():
            bundle = Bundle.load(self.model_file)
        elif checkpoint == "average":
            cfg = self.read_config().trainer
            checkpoints = Checkpoints(self.checkpoint_folder, cfg.average, cfg.average_count)
            state = checkpoints.load_last()
            if state is None:
                raise RunError(f"{self.folder}: no checkpoint yet; train first")
            bundle = Bundle.restore(state.bundle, checkpoints.average_weights(), self.checkpoint_folder)
        else:
            named = {"best": BEST, "last": LAST}.get(checkpoint)
            if named is None and not Path(checkpoint).exists():
                there = sorted(path.name for path in self.checkpoint_folder.glob("*.ckpt"))
                raise RunError(
                    f"--checkpoint {checkpoint}: no such file, and none of best, last, average; "
                    f"{self.checkpoint_folder} has {', '.join(there) or 'none'}"
                )
            bundle = Bundle.load(self.checkpoint_folder / named if named else Path(checkpoint))
        return bundle, weights_digest(bundle)


def weights_digest(bundle: Bundle) -> str:
    """A digest of the weights, so that a decoding knows from which model it came."""
    digest = hashlib.sha256()
    for name, value in sorted(bundle.weights().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _shown(settings: dict[str, Any], path: str) -> str:
    return json.dumps(settings.get(path, ADDED.get(path)))


def default_folder(recipe: Path) -> Path:
    """runs/<corpus>/<recipe> in the current folder."""
    return Path("runs") / recipe.resolve().parent.name / recipe.stem
