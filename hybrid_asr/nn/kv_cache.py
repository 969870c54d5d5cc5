"""The decoder's key-value cache: keys and values of the labels so far, each stored once for all its hypotheses.

It is reordered here (`KVCache.reorder`) when a beam search prunes its hypotheses: no key or value is moved, only the
rows of a boolean table that says which positions of the store each hypothesis attends to.

Axes: U utterances, K hypotheses of each, P positions of an utterance's store, H heads, W width of a head.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

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
    visible: Bool[Tensor, "utterances hyps positions"]  # which positions a hypothesis attends to
    compact_at: int  # filled positions at which those that no hypothesis attends to are removed

    @classmethod
    def empty(cls, layers: int, utterances: int, hyps: int, *, heads: int, width: int, like: Tensor) -> "KVCache":
        """No labels yet, in the type and on the device of `like`."""
        content = like.new_empty(layers, 2, utterances, heads, 0, width)
        visible = torch.zeros(utterances, hyps, 0, dtype=torch.bool, device=like.device)
        return cls(Store(content, COMPACT_EVERY * hyps), visible, COMPACT_EVERY * hyps)

    def grow(self) -> "KVCache":
        """One more position for each hypothesis, visible to it alone; `write` must then fill it for every layer."""
        hyps, filled = self.visible.shape[1:]
        store = self.store
        if store.filled != filled or filled + hyps > store.capacity:
            store = Store(store.content[..., :filled, :], max(filled, COMPACT_EVERY * hyps))
        store.filled = filled + hyps
        own = torch.eye(hyps, dtype=torch.bool, device=self.visible.device).expand(len(self.visible), -1, -1)
        return KVCache(store, torch.cat([self.visible, own], dim=2), self.compact_at)

    def write(self, layer: int, new: KeysValues) -> KeysValues:
        """Write a layer's keys and values (U, H, K, W) into the last positions; returns those of all positions."""
        filled = self.visible.shape[2]
        content = self.store.content[layer]
        content[0, :, :, filled - new.keys.shape[2] : filled] = new.keys
        content[1, :, :, filled - new.keys.shape[2] : filled] = new.values
        return KeysValues(*content[..., :filled, :])

    def reorder(self, parents: Int[Tensor, "utterances kept"]) -> "KVCache":
        """Continue with the hypotheses `parents` of each utterance; a parent may occur several times."""
        positions = self.visible.shape[2]
        visible = self.visible.gather(1, parents[..., None].expand(-1, -1, positions))
        cache = self._replace(visible=visible)
        return cache._compacted() if positions >= self.compact_at else cache

    def keep(self, utterances: Int[Tensor, " live"]) -> "KVCache":
        """Drop all utterances but `utterances`."""
        visible = self.visible[utterances]
        content = self.store.content[:, :, utterances, :, : visible.shape[2]]
        return self._replace(store=Store(content, self.store.capacity - visible.shape[2]), visible=visible)

    def _compacted(self) -> "KVCache":
        """Move the positions that are visible to the left; utterances with fewer keep some that are not."""
        free = COMPACT_EVERY * self.visible.shape[1]
        used = self.visible.any(1)
        needed = int(used.sum(1).max())
        order = (~used).long().argsort(stable=True)[:, :needed]  # (U, P'), used positions first and in their order
        content = self.store.content
        source = order[:, None, :, None].expand(*content.shape[:2], -1, content.shape[3], -1, content.shape[-1])
        visible = self.visible.gather(2, order[:, None].expand(-1, self.visible.shape[1], -1))
        return KVCache(Store(content.gather(4, source), free), visible, needed + free)
