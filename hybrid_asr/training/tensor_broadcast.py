"""Plain containers with large tensors, given from the first process to all: its bytes in pieces, by one buffer."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor, distributed

from hybrid_asr.training.process_group import broadcast, host_group, is_connected

T = TypeVar("T")
PIECE_BYTES = 2**26


class _Place(NamedTuple):
    """Stands for a tensor where the containers travel without it."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def broadcast_tensors(tree: T) -> T:
    """What the first process gives, in all; waits for them. Tensors lie on the host, within dicts and lists."""
    if not is_connected():
        return tree
    tensors: list[Tensor] = []
    frame = broadcast(_taken_out(tree, tensors))
    first = distributed.get_rank() == 0
    if not first:
        tensors.clear()
        tree = cast(T, _put_in(frame, tensors))
    for piece in pieces(tensors, PIECE_BYTES):
        buffer = torch.cat(piece) if first else torch.empty(sum(map(len, piece)), dtype=torch.uint8)
        distributed.broadcast(buffer, src=0, group=host_group())
        if not first:
            for part, received in zip(piece, buffer.split([len(part) for part in piece]), strict=True):
                part.copy_(received)
    return tree


def pieces(tensors: Sequence[Tensor], size: int) -> Iterator[list[Tensor]]:
    """The bytes of all tensors in their order, `size` at a time; what is contiguous is not copied."""
    piece: list[Tensor] = []
    room = size
    for tensor in tensors:
        data = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        while len(data):
            part, data = data[:room], data[room:]
            piece.append(part)
            room -= len(part)
            if not room:
                yield piece
                piece, room = [], size
    if piece:
        yield piece


def _taken_out(value: object, tensors: list[Tensor]) -> object:
    match value:
        case Tensor():
            tensors.append(value)
            return _Place(tuple(value.shape), value.dtype)
        case dict():
            return {key: _taken_out(entry, tensors) for key, entry in value.items()}
        case list():
            return [_taken_out(entry, tensors) for entry in value]
        case _:
            return value


def _put_in(value: object, tensors: list[Tensor]) -> object:
    match value:
        case _Place():
            tensors.append(torch.empty(value.shape, dtype=value.dtype))
            return tensors[-1]
        case dict():
            return {key: _put_in(entry, tensors) for key, entry in value.items()}
        case list():
            return [_put_in(entry, tensors) for entry in value]
        case _:
            return value
