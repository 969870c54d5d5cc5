"""A picture of the leading head after each validation: how attention finds its way while a model trains."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from hybrid_asr.attention.diagnosis import Diagnosis
from hybrid_asr.common.files import remove_unfinished
from hybrid_asr.training.messages import rank_zero_print

Pixels = UInt8[np.ndarray, "height width rgb"]
Draw = Callable[[Diagnosis, int, Path], Pixels]  # of a diagnosis after an epoch, to a file
Show = Callable[[Pixels, int], None]  # at a step
NAME = re.compile(r"epoch_(\d+)\.png")


class AttentionPictures:
    """Keeps `epoch_0012.png` and its like in `folder`. No picture stops a training: what goes wrong is reported once.

    `draw` writes a picture and gives its pixels, which `show` brings to where metrics go, too.
    """

    def __init__(self, folder: Path, *, draw: Draw, show: Show, steps_per_epoch: int):
        self.folder, self.draw, self.show, self.steps_per_epoch = folder, draw, show, steps_per_epoch
        self.warned = False

    def continue_from(self, epoch: int) -> None:
        """Remove what an earlier process drew of epochs behind `epoch`."""
        try:
            remove_unfinished(self.folder)
            for number, path in find_pictures(self.folder).items():
                if number > epoch:
                    path.unlink()
        except OSError as error:
            self._warn_once(f"pictures of attention behind epoch {epoch} are still there", error)

    def add(self, diagnosis: Diagnosis, epoch: int) -> None:
        """Draw the utterances whose weights were kept, if any."""
        if not diagnosis.kept_weights:
            return
        try:
            self.folder.mkdir(exist_ok=True)
            pixels = self.draw(diagnosis, epoch, picture_file(self.folder, epoch))
            self.show(pixels, epoch * self.steps_per_epoch)
        except Exception as error:  # a picture is a by-product: no mistake in it may cost a training
            self._warn_once(f"no picture of attention after epoch {epoch}", error)

    def _warn_once(self, what: str, error: Exception) -> None:
        if not self.warned:
            rank_zero_print(
                f"warning: {what} ({type(error).__name__}: {error}); training continues, "
                "and does not repeat this warning"
            )
        self.warned = True


def picture_file(folder: Path, epoch: int) -> Path:
    """Where the picture after an epoch lies."""
    return folder / f"epoch_{epoch:04d}.png"


def find_pictures(folder: Path) -> dict[int, Path]:
    """What has the name of a picture, by epoch."""
    pictures = {int(match[1]): path for path in folder.glob("epoch_*.png") if (match := NAME.fullmatch(path.name))}
    return dict(sorted(pictures.items()))
