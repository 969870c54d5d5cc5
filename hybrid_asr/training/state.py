"""The state that a training resumes from, given to all its processes."""

import dataclasses

from hybrid_asr.training.checkpoint import TrainingState
from hybrid_asr.training.process_group import broadcast
from hybrid_asr.training.tensor_broadcast import broadcast_tensors


def share_state(state: TrainingState | None) -> TrainingState | None:
    """The state that the first process has read, in all; None where it has none. All processes must call this."""
    if not broadcast(state is not None):
        return None
    fields = {} if state is None else {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return TrainingState(**broadcast_tensors(fields))
