"""Updates that were left out since their loss or gradient was not finite: counted, written down, and when to stop."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning as L
from torch import Tensor

from hybrid_asr.common.files import write_text
from hybrid_asr.training.checkpoint import Checkpoints, incident_file
from hybrid_asr.training.process_group import gather

KEPT_WEIGHTS = 5  # weights that are kept to replay such updates with
NAMED = 10  # such updates that are reported one by one
OVERFLOWS = 20  # halvings in a row that bring float16's scale of the loss from 65536 to below 1: it is not the cause


class PartLosses(NamedTuple):
    """What one part of an update came to, still on its device: losses in nats an utterance."""

    part: int
    ids: tuple[str, ...]
    speeds: tuple[float, ...]
    seconds: float
    loss: Tensor
    ctc: Tensor
    attention: Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class NonfinitePart:
    """A line of nonfinite.jsonl: one part of an update that was left out; losses in nats an utterance.

    `weights` is the file with those that the update met, empty where they were not kept. What an incomplete line lacks
    of `seconds`, `speeds`, `ctc` and `attention` is NaN or empty.
    """

    step: int
    part: int
    rank: int
    seconds: float
    ids: tuple[str, ...]
    speeds: tuple[float, ...]
    loss: tuple[float, ...]
    ctc: tuple[float, ...]
    attention: tuple[float, ...]
    weights: str = ""
    weights_step: int = 0  # that the weights of the training had reached

    @classmethod
    def of(cls, step: int, rank: int, part: PartLosses) -> "NonfinitePart":
        """A part of update `step`, before it is known which file keeps its weights."""
        return cls(
            step=step,
            part=part.part,
            rank=rank,
            seconds=round(part.seconds, 3),
            ids=part.ids,
            speeds=part.speeds,
            loss=tuple(part.loss.tolist()),
            ctc=tuple(part.ctc.tolist()),
            attention=tuple(part.attention.tolist()),
        )

    def to_line(self) -> str:
        """Its line, with the newline."""
        losses = {name: [number(value) for value in getattr(self, name)] for name in ("loss", "ctc", "attention")}
        return json.dumps(dataclasses.asdict(self) | losses, ensure_ascii=False) + "\n"

    @classmethod
    def from_line(cls, line: str) -> "NonfinitePart | None":
        """What `to_line` wrote; None of a line that is damaged, as one torn by a kill."""
        try:
            row = json.loads(line)
            losses = {name: tuple(map(float, row.get(name, ()))) for name in ("ctc", "attention")}
            return cls(
                step=int(row["step"]),
                part=int(row["part"]),
                rank=int(row["rank"]),
                seconds=float(row.get("seconds", "nan")),
                ids=tuple(map(str, row["ids"])),
                speeds=tuple(map(float, row.get("speeds", ()))),
                loss=tuple(map(float, row["loss"])),
                **losses,
                weights=str(row["weights"]),
                weights_step=int(row.get("weights_step", 0)),
            )
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
            return None


class Nonfinite:
    """Notes such updates in `file`, one line a part, and keeps the weights they met, once for each row of them.

    `halt` becomes a message when training should stop: at the first one with the policy `stop`, else after `limit` in
    a row, when the weights and not a batch must be what is wrong.
    """

    def __init__(
        self,
        *,
        file: Path,
        checkpoints: Checkpoints,
        policy: Literal["skip", "stop"],
        limit: int,
        warn: Callable[[str], None],
    ):
        self.file, self.checkpoints, self.policy, self.limit, self.warn = file, checkpoints, policy, limit, warn
        self.in_row = 0
        self.total = 0
        self.overflows = 0  # in a row, of float16 alone
        self.halt = ""
        self._seen: list[tuple[int, bool]] = []  # updates since the last record, and whether they were left out
        self._noted: list[NonfinitePart] = []  # their parts on this device
        self._weights = ""  # the file with those that the latest row of such updates met

    def continue_from(self, state: dict[str, int]) -> None:
        """Go on from a saved state, in each process: what they do together follows from these counts."""
        self.in_row, self.total = state.get("in_row", 0), state.get("skipped", 0)
        self.overflows = state.get("overflows", 0)

    def forget_behind(self, step: int) -> None:
        """Remove what is written of steps behind `step`, which will be done again."""
        if self.file.is_file():
            lines = self.file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            write_text(self.file, "".join(line for line in lines if _step_of(line) <= step), folder="expect")

    def state(self) -> dict[str, int]:
        """What a saved state must hold; who goes on after a halt has decided to."""
        state = {"in_row": 0 if self.halt else self.in_row, "skipped": self.total}
        return state | ({"overflows": self.overflows} if self.overflows else {})

    def note(self, step: int, skipped: bool, parts: list[PartLosses], rank: int) -> None:
        """Look at update number `step` (from 1), in their order; the same updates are skipped on all devices."""
        self._seen.append((step, skipped))
        if skipped:
            self._noted += [NonfinitePart.of(step, rank, part) for part in parts]

    def record(self, trainer: L.Trainer, module: Any) -> None:
        """Write what was noted, from all devices, and keep the weights where that is the first of a row of them."""
        (seen, self._seen), (noted, self._noted) = (self._seen, []), (self._noted, [])
        shares = gather(noted) if noted else []
        bad = [row for share in shares for row in share]
        for step, skipped in seen:
            if skipped and not self._scale_was_too_high([row for row in bad if row.step == step], module):
                self._count(step)
            elif not skipped:
                self.in_row = self.overflows = 0
            else:
                bad = [row for row in bad if row.step != step]
        if bad:
            module.gather_weights()
        if not bad or not trainer.is_global_zero:
            return
        first = min(row.step for row in bad)
        if self.in_row <= module.step - first + 1:  # a row of them begins here; in it the weights stay as they are
            saved_count = len(list(self.checkpoints.folder.glob("nonfinite-*.ckpt")))
            self._weights = incident_file(first) if saved_count < KEPT_WEIGHTS else ""
            if self._weights:
                self.checkpoints.save_incident(module.bundle, first, weights_step=module.step)
        with self.file.open("a", encoding="utf-8") as file:
            for row in sorted(bad, key=lambda row: (row.step, row.part)):
                file.write(dataclasses.replace(row, weights=self._weights, weights_step=module.step).to_line())

    def _scale_was_too_high(self, parts: list[NonfinitePart], module: Any) -> bool:
        """Whether in float16 the gradient alone overflowed: the scale of the loss falls, and nothing is wrong yet."""
        if module.loss_scale is None or not all(math.isfinite(loss) for part in parts for loss in part.loss):
            return False
        self.overflows += 1
        return self.overflows <= OVERFLOWS

    def _count(self, step: int) -> None:
        """Count an update that was left out, say so, and see whether training should stop."""
        self.in_row, self.total = self.in_row + 1, self.total + 1
        if self.total <= NAMED:
            more = "; later ones are only counted" if self.total == NAMED else ""
            self.warn(f"step {step}: the loss or its gradient is not finite, the update is left out{more}")
        if not self.halt and (self.policy == "stop" or self.in_row >= self.limit):  # several stop a step later
            self.halt = self._why(step)

    def _why(self, step: int) -> str:
        many = f"{self.in_row} updates in a row, to step {step}," if self.in_row > 1 else f"the update of step {step}"
        return (
            f"the loss or the gradient of {many} was not finite; nothing of it was applied. See what is in the batch "
            f"with: hybrid-asr show batch {self.file.parent} {step}\n"
            "then correct the data, or train in a run of its own with a lower optim.lr, a longer optim.warmup or "
            f"trainer.precision=float32: hybrid-asr train RECIPE --folder NEW{self._earlier(step)} optim.lr=LOWER"
            + (", or leave such updates out with trainer.nonfinite=skip" if self.policy == "stop" else "")
        )

    def _earlier(self, step: int) -> str:
        """The override that begins with the last weights from before a row of such updates."""
        last_good = self.checkpoints.good_until(step - self.in_row)
        return f" init.from={last_good[0]}" if last_good is not None and last_good[1].step <= step - self.in_row else ""


def number(value: float) -> float | str:
    """A number as JSON has it, which knows no NaN."""
    return value if math.isfinite(value) else str(value)


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, LookupError, TypeError):  # torn by a kill
        return math.inf
