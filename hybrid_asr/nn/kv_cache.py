"""The decoder's key-value cache: keys and values of the labels so far, each stored once for all its hypotheses.

It is reordered here (`KVCache.reorder`) when a beam search prunes its hypotheses: no key or value is moved, only the
rows of a table that says which positions of the store each hypothesis attends to.

On the host, positions that no hypothesis attends to any more are removed now and then. How many are left decides the
size of what follows, for which the host would have to wait on a GPU; there they stay, as many as in a cache with keys
and values for each hypothesis.

Axes: U utterances, K hypotheses of each, P positions of an utterance's store, H heads, W width of a head.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hybrid_asr.common.device import on_host
from hybrid_asr.nn.attention import KeysValues

COMPACT_EVERY = 8  # steps after which positions that no hypothesis attends to are removed


class Store:
    """Memory for keys and values with free positions to the right; the first `filled` are never overwritten."""

    def __init__(self, content: Float[Tensor, "layers 2 utterances heads positions width"], free: int) -> None:
        """Copy `content` and add `free` positions."""
        layers, two, utterances, heads, filled, width = content.shape
        self.content = content.new_empty(layers, two, utterances, heads, filled + free, width)
        self.content[..., :filled, :] = content
        self.filled = filled

    @property
    def capacity(self) -> int:
        """Positions, filled and free."""
        return self.content.shape[-2]


class KVCache(NamedTuple):
    """The labels so far of each hypothesis, as a value: no method changes the one it is called on.

    All hypotheses of an utterance share one store, and each attends to the positions of its own labels. Of the caches
    that grow from the same one, the first writes into the same store; any other copies it first.
    """

    store: Store
    bias: Float[Tensor, "utterances hyps positions"]  # 0 where a hypothesis attends to a position, elsewhere -inf
    own: Float[Tensor, "hyps hyps"]  # the bias of the next positions, one for each hypothesis
    compact_at: int  # filled positions at which those that no hypothesis attends to are removed

    @classmethod
    def empty(cls, layers: int, utterances: int, hyps: int, *, heads: int, width: int, like: Tensor) -> "KVCache":
        """No labels yet, in the type and on the device of `like`."""
        content = like.new_empty(layers, 2, utterances, heads, 0, width)
        bias = like.new_empty(utterances, hyps, 0)
        return cls(Store(content, COMPACT_EVERY * hyps), bias, _apart(hyps, like), COMPACT_EVERY * hyps)

    def grow(self) -> "KVCache":
        """One more position for each hypothesis, visible to it alone; `write` must then fill it for every layer."""
        utterances, hyps, filled = self.bias.shape
        store = self.store
        if store.filled != filled or filled + hyps > store.capacity:
            store = Store(store.content[..., :filled, :], max(filled, COMPACT_EVERY * hyps))
        store.filled = filled + hyps
        own = self.own if len(self.own) == hyps else _apart(hyps, self.own)
        return KVCache(store, torch.cat([self.bias, own.expand(utterances, -1, -1)], dim=2), own, self.compact_at)

    def write(self, layer: int, new: Float[Tensor, "2 utterances heads hyps width"]) -> KeysValues:
        """Write a layer's keys and values into the last positions; returns those of all positions."""
        filled = self.bias.shape[2]
        content = self.store.content[layer, ..., :filled, :]
        content[..., filled - new.shape[3] :, :] = new
        return KeysValues(*content.unbind(0))

    def reorder(self, parents: Int[Tensor, " kept"]) -> "KVCache":
        """Continue with the hypotheses `parents`, counted over all utterances, equally many of each."""
        utterances, _, positions = self.bias.shape
        bias = self.bias.flatten(0, 1)[parents].view(utterances, -1, positions)
        cache = self._replace(bias=bias)
        return cache._compacted() if positions >= self.compact_at and on_host(bias.device) else cache

    def keep(self, utterances: Int[Tensor, " live"]) -> "KVCache":
        """Drop all utterances but `utterances`."""
        bias = self.bias[utterances]
        content = self.store.content[:, :, utterances, :, : bias.shape[2]]
        return self._replace(store=Store(content, self.store.capacity - bias.shape[2]), bias=bias)

    def _compacted(self) -> "KVCache":
        """Move the positions that are visible to the left; utterances with fewer keep some that are not."""
        free = COMPACT_EVERY * self.bias.shape[1]
        used = (self.bias == 0.0).any(1)
        needed = int(used.sum(1).max())
        order = (~used).long().argsort(stable=True)[:, :needed]  # (U, P'), used positions first and in their order
        content = self.store.content
        source = order[:, None, :, None].expand(*content.shape[:2], -1, content.shape[3], -1, content.shape[-1])
        bias = self.bias.gather(2, order[:, None].expand(-1, self.bias.shape[1], -1))
        return self._replace(store=Store(content.gather(4, source), free), bias=bias, compact_at=needed + free)


def _apart(hyps: int, like: Tensor) -> Float[Tensor, "{hyps} {hyps}"]:
    """The bias by which each of `hyps` positions is seen by one hypothesis alone."""
    own = torch.eye(hyps, dtype=torch.bool, device=like.device)
    return like.new_zeros(hyps, hyps).masked_fill_(~own, -torch.inf)
