"""The best of many scores, whatever the device: which of equal ones are taken must not depend on it."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hybrid_asr.common.device import on_host

SORTED_AT_ONCE = 4096  # scores of a row that a GPU sorts by one block of threads


def best_indices(scores: Float[Tensor, "rows candidates"], count: int) -> Int[Tensor, "rows {count}"]:
    """The indices of the `count` best scores of each row, ascending; of equal scores the first ones are taken.

    `topk` alone leaves open which of equal scores it takes, and a result must not depend on that. So on the host one
    more than needed is compared: only if the last one taken and the first one left are equal is the choice open.
    Impossible ones (-inf) are equal, too, but which of them is taken makes no difference. A GPU sorts rows that are not
    too long in one launch, and few launches are what counts there.
    """
    if not on_host(scores.device) and scores.shape[1] <= SORTED_AT_ONCE:
        best = scores.sort(dim=1, descending=True, stable=True).indices  # NaN comes first: the search finds it
        return best[:, :count].sort(dim=1).values
    if count == scores.shape[1] or not on_host(scores.device):
        return _first_of_equals(scores, count)
    best, candidates = scores.topk(count + 1)
    indices = candidates[:, :count].sort().values
    tied = (best[:, -1] == best[:, -2]) & (best[:, -1] > -torch.inf)
    if tied.any():  # in bfloat16 it is some row at nearly every step
        indices[tied] = _first_of_equals(scores[tied], count)
    return indices


def _first_of_equals(scores: Float[Tensor, "rows candidates"], count: int) -> Int[Tensor, "rows {count}"]:
    """The same by several passes over the scores.

    Places are ordered once more: those of equals of the last one taken count as larger by the number of all places, and
    what is worse as larger by twice that. NaN comes first, as above.
    """
    size = scores.shape[1]
    scores = scores.nan_to_num(torch.inf, torch.inf, -torch.inf)
    last = scores.topk(count).values[:, -1:]
    order = torch.arange(size, device=scores.device).add(scores <= last, alpha=size).add_(scores < last, alpha=size)
    return order.topk(count, largest=False).values.remainder_(size).sort(dim=1).values
