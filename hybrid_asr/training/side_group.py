"""The processes once more, as a group on the host beside the one that carries gradients."""

import torch

_group: list[torch.distributed.ProcessGroup] = []


def side_group() -> torch.distributed.ProcessGroup | None:
    """The group, made by all processes together at the first call; None of a single process.

    What travels in it waits for no gradient, and no gradient for it.
    """
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return None
    if not _group:
        group = torch.distributed.new_group(backend="gloo")
        assert isinstance(group, torch.distributed.ProcessGroup)
        _group.append(group)
    return _group[0]
