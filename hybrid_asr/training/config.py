"""Settings of a trainer and its loggers; apart from what builds them, since Lightning takes a second to import."""

import math
from typing import Annotated, Literal

from pydantic import Field

from hybrid_asr.config.schema import config

Positive = Annotated[int, Field(gt=0)]
Count = Positive | Literal["auto"]


@config
class TrainerConfig:
    """How long, on what, and what is kept.

    A training lasts `epochs`, or so many `steps` (updates), which may end inside an epoch; exactly one is given. The
    last step is validated and kept as an epoch's end is.

    `devices` are the processes on each of `nodes`, and on a GPU each has its own. "auto" is as many as torchrun or srun
    have started, and 1 without them; another number than they have started is refused. Without them this program
    starts the others itself. `threads` "auto" is found out on a CPU by trying a few steps, and kept in the run, so that
    it resumes with as many; 0 leaves torch its choice. `valid_every` counts epochs; `valid_decoder` decodes the
    validation set; `save_minutes` is the most that a crash can cost; with `save_steps` the state is also saved after
    each so many updates. The mean of the `average_count` best or last epochs is the model.

    An update whose loss or gradient is not finite is never applied. `nonfinite`: "skip" goes on and counts them, but
    stops after `nonfinite_limit` in a row, "stop" stops at the first. Training is said to diverge, and goes on, when
    the mean loss of `divergence_rows` rows of metrics.csv exceeds `divergence_factor` times the best such mean.

    With each validation the attention of `attention_utterances` is measured; an alarm is given after
    `attention_patience` such times, behind the first fifth of the training, in which no head follows the speech.
    `attention_pictures` of these utterances are drawn into the run's folder `attention/`; 0 draws none.

    `strategy`: of several processes each keeps the whole model ("ddp", also "auto"), or its part of all weights and of
    the optimizer ("fsdp"). `precision`: "bf16" and "fp16" compute the forward pass in 16 bits, fp16 with a scale of the
    loss; weights stay in float32. `tf32` lets a GPU multiply float32 with 10 bits of mantissa.
    `deterministic` uses nothing that rounds otherwise each time, and ends a training that needs such an operation.
    `checkpoint_activations` computes the layers once more in the backward pass in place of keeping what they came to.
    `profile` traces so many steps. `try_steps` trains so many in a folder of its own, with all that belongs to it.
    """

    epochs: Positive | None = None
    steps: Positive | None = None
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Count = "auto"
    nodes: Count = "auto"
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    tf32: bool = False
    deterministic: bool = False
    checkpoint_activations: bool = False
    profile: Annotated[int, Field(ge=0)] = 0
    try_steps: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    log_every: Positive = 10
    valid_every: Positive = 1
    valid_decoder: Literal["auto", "ctc_greedy", "attention", "joint", "lexicon"] = "auto"
    save_minutes: Annotated[float, Field(gt=0)] = 5.0
    save_steps: Positive | None = None
    average: Literal["best", "last"] = "last"
    average_count: Positive = 5
    nonfinite: Literal["skip", "stop"] = "skip"
    nonfinite_limit: Positive = 10
    divergence_factor: Annotated[float, Field(gt=1)] = 2.0
    divergence_rows: Positive = 10
    attention_utterances: Annotated[int, Field(ge=0)] = 8
    attention_patience: Positive = 3
    attention_pictures: Annotated[int, Field(ge=0, le=4)] = 4

    def __post_init__(self) -> None:
        if self.epochs is None and self.steps is None:
            raise ValueError("how long to train is not given; set trainer.epochs or trainer.steps")
        if self.epochs is not None and self.steps is not None:
            raise ValueError("epochs and steps are both given; leave one of them out")

    def total_steps(self, steps_per_epoch: int) -> int:
        """Updates of the whole training."""
        return self.steps if self.epochs is None else self.epochs * steps_per_epoch  # type: ignore[return-value]

    @property
    def length(self) -> tuple[str, int]:
        """The setting that says how long the training is, "epochs" or "steps", and its value."""
        return ("steps", self.steps) if self.epochs is None else ("epochs", self.epochs)  # type: ignore[return-value]

    @property
    def given_threads(self) -> int:
        """The number of threads, 0 where none is given."""
        return 0 if self.threads == "auto" else self.threads

    def processes(self) -> int:
        """How many processes train together, once "auto" is resolved; unresolved it counts as 1."""
        return math.prod(1 if count == "auto" else count for count in (self.devices, self.nodes))


@config
class CsvLoggerConfig:
    """`metrics.csv` alone, which is always written."""

    kind: Literal["csv"] = "csv"


@config
class TensorBoardConfig:
    """Event files in the run's folder `tensorboard/`."""

    kind: Literal["tensorboard"] = "tensorboard"


@config
class WandbConfig:
    """Weights & Biases; `offline` writes to the run's folder `wandb/`, to be sent later by `wandb sync`."""

    kind: Literal["wandb"] = "wandb"
    project: str = "hybrid-asr"
    mode: Literal["online", "offline"] = "online"


LoggerConfig = Annotated[CsvLoggerConfig | TensorBoardConfig | WandbConfig, Field(discriminator="kind")]
