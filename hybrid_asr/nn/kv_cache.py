"""Keys and values of the labels that hypotheses have said, each stored once however many hypotheses share it.

Axes: U utterances, K hypotheses of each, P places of an utterance's store, H heads, W width of a head.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hybrid_asr.nn.attention import KeysValues

COMPACT_EVERY = 8  # steps between two looks at what no hypothesis needs any more


class Store:
    """Memory for keys and values with room to the right; the first `filled` places are never written again."""

    def __init__(self, content: Float[Tensor, "layers 2 utterances heads places width"], room: int):
        layers, two, utterances, heads, filled, width = content.shape
        self.content = content.new_empty(layers, two, utterances, heads, filled + room, width)
        self.content[..., :filled, :] = content
        self.filled = filled

    @property
    def capacity(self) -> int:
        return self.content.shape[-2]


class LabelCache(NamedTuple):
    """What each hypothesis has said so far, as a value: no method changes the one it is called on.

    All hypotheses of an utterance share one store of places, and each sees those on its own way. So to reorder
    hypotheses is to reorder their rows of `sees`; no key or value is moved. A store has at most one heir that writes
    behind it; a second one copies it first.
    """

    store: Store
    sees: Bool[Tensor, "utterances hyps places"]
    compact_at: int  # when so many places are filled, those that nobody sees are given back

    @classmethod
    def empty(cls, layers: int, utterances: int, hyps: int, *, heads: int, width: int, like: Tensor) -> "LabelCache":
        """Nothing said yet."""
        nothing = like.new_empty(layers, 2, utterances, heads, 0, width)
        sees = torch.zeros(utterances, hyps, 0, dtype=torch.bool, device=like.device)
        return cls(Store(nothing, COMPACT_EVERY * hyps), sees, COMPACT_EVERY * hyps)

    def grown(self) -> "LabelCache":
        """One more place for each hypothesis, which it sees; its keys and values are to be written by `write`."""
        hyps, filled = self.sees.shape[1:]
        store = self.store
        if store.filled != filled or filled + hyps > store.capacity:
            store = Store(store.content[..., :filled, :], max(filled, COMPACT_EVERY * hyps))
        store.filled = filled + hyps
        own = torch.eye(hyps, dtype=torch.bool, device=self.sees.device).expand(len(self.sees), -1, -1)
        return LabelCache(store, torch.cat([self.sees, own], dim=2), self.compact_at)

    def write(self, layer: int, new: KeysValues) -> KeysValues:
        """Put a layer's keys and values (U, H, K, W) into the last places; returns all that the layer may look at."""
        filled = self.sees.shape[2]
        part = self.store.content[layer]
        part[0, :, :, filled - new.keys.shape[2] : filled] = new.keys
        part[1, :, :, filled - new.keys.shape[2] : filled] = new.values
        return KeysValues(*part[..., :filled, :])

    def reordered(self, parents: Int[Tensor, "utterances kept"]) -> "LabelCache":
        """Go on with the hypotheses `parents` of each utterance."""
        places = self.sees.shape[2]
        sees = self.sees.gather(1, parents[..., None].expand(-1, -1, places))
        cache = self._replace(sees=sees)
        return cache._compacted() if places >= self.compact_at else cache

    def kept(self, utterances: Int[Tensor, " live"]) -> "LabelCache":
        """Let all utterances but `utterances` leave."""
        sees = self.sees[utterances]
        content = self.store.content[:, :, utterances, :, : sees.shape[2]]
        return self._replace(store=Store(content, self.store.capacity - sees.shape[2]), sees=sees)

    def _compacted(self) -> "LabelCache":
        """Move what is seen to the left; utterances that need fewer places than others fill up with unseen ones."""
        room = COMPACT_EVERY * self.sees.shape[1]
        wanted = self.sees.any(1)
        needed = int(wanted.sum(1).max())
        order = (~wanted).long().argsort(stable=True)[:, :needed]  # (U, P'), seen places first and in their order
        content = self.store.content
        which = order[:, None, :, None].expand(*content.shape[:2], -1, content.shape[3], -1, content.shape[-1])
        sees = self.sees.gather(2, order[:, None].expand(-1, self.sees.shape[1], -1))
        return LabelCache(Store(content.gather(4, which), room), sees, needed + room)
