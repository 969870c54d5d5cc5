"""The DataModule: one stream of parts over the whole training, which can begin at any step."""

from collections.abc import Callable, Iterator

import lightning as L
from torch.utils.data import DataLoader, Sampler

from hybrid_asr.data.plan import Part
from hybrid_asr.data.sampler import Planner


class TrainingStream(Sampler[Part]):
    """The parts of one device from update `first` to the last, epoch after epoch without a pause between them.

    One stream rather than one loader an epoch: a training that goes on begins in the middle of an epoch as anywhere else.
    """

    def __init__(self, planner: Planner, *, first: int, total: int, rank: int, ranks: int, accumulation: int):
        self.planner = planner
        self.first, self.total = first, total
        self.rank, self.ranks, self.accumulation = rank, ranks, accumulation

    def __len__(self) -> int:
        return (self.total - self.first) * self.accumulation

    def __iter__(self) -> Iterator[Part]:
        for step in range(self.first, self.total):
            epoch, place = divmod(step, self.planner.steps)
            parts = self.planner.plan(epoch).share(self.rank, self.ranks, self.accumulation)
            yield from parts[place * self.accumulation : (place + 1) * self.accumulation]


class SpeechData(L.LightningDataModule):
    """Gives Lightning the loader of this process's stream; `build` turns a sampler into a loader."""

    def __init__(self, planner: Planner, build: Callable[[Sampler[Part]], DataLoader], *, first: int, total: int, accumulation: int):
        super().__init__()
        self.planner, self.build = planner, build
        self.first, self.total, self.accumulation = first, total, accumulation

    def train_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        return self.build(
            TrainingStream(
                self.planner,
                first=self.first,
                total=self.total,
                rank=self.trainer.global_rank,
                ranks=self.trainer.world_size,
                accumulation=self.accumulation,
            )
        )
