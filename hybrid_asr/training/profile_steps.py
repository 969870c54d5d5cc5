"""Where the time of a step goes: a trace of some steps, and a table of what took most."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.profiler import ProfilerActivity, profile

from hybrid_asr.training.messages import rank_zero_print
from hybrid_asr.training.progress import ends_step

WARM_UP = 3  # steps before the first that is traced: memory is reserved in them, and kernels are chosen
TOP = 15  # rows of the table


class ProfileSteps(L.Callback):
    """Traces `steps` steps of the first process, behind WARM_UP others, into `folder`.

    It comes behind the other callbacks, so that what these do at a step's end is in the trace.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder, self.steps = folder, steps
        self.done = 0  # steps of this process
        self._profile: profile | None = None

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Begin behind the warm-up, and end with the last step that was asked for."""
        if not trainer.is_global_zero or not ends_step(trainer, batch_idx):
            return
        self.done += 1
        if self._profile is not None:
            self._profile.step()
        if self.done == WARM_UP:
            kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
            self._profile = profile(activities=kinds)
            self._profile.start()
        if self.done == WARM_UP + self.steps:
            self._write()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write what there is of a training that was shorter."""
        self._write()

    def _write(self) -> None:
        if self._profile is None:
            return
        traced, self._profile = self._profile, None
        traced.stop()
        self.folder.mkdir(exist_ok=True)
        file = self.folder / "steps.json"
        traced.export_chrome_trace(str(file))
        by = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        rank_zero_print(traced.key_averages().table(sort_by=by, row_limit=TOP, max_name_column_width=50))
        rank_zero_print(f"{file}: the trace of {self.steps} steps; open it at https://ui.perfetto.dev")
