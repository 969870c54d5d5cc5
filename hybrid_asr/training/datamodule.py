"""The DataModule: it gives Lightning this process's share of the stream of parts."""

from collections.abc import Callable

import lightning as L
from torch.utils.data import DataLoader

from hybrid_asr.data.sampler import Planner, PlanSampler


class SpeechData(L.LightningDataModule):
    """Loads the updates from `first` to `total`; `build` turns a sampler into a loader."""

    def __init__(
        self,
        planner: Planner,
        build: Callable[[PlanSampler], DataLoader],
        *,
        first: int,
        total: int,
        accumulation: int,
    ):
        super().__init__()
        self.planner, self.build = planner, build
        self.first, self.total, self.accumulation = first, total, accumulation

    def train_dataloader(self) -> DataLoader:
        """The loader of this process; one Lightning epoch is the whole training."""
        assert self.trainer is not None
        sampler = PlanSampler(
            self.planner,
            rank=self.trainer.global_rank,
            ranks=self.trainer.world_size,
            accumulation=self.accumulation,
            first=self.first,
            total=self.total,
        )
        return self.build(sampler)
