"""Texts that stop early: with far fewer labels than CTC hears, or than the slowest speech of training would have."""

from collections.abc import Sequence

import torch

from hybrid_asr.decoding.ctc_greedy import best_path
from hybrid_asr.decoding.hypothesis import Hypothesis
from hybrid_asr.inference.encode import EncodedBatch
from hybrid_asr.models.bundle import Bundle

SHARE = 0.6  # of the expected labels (docs/decoding.md has the measurement)
LEAST = 10  # expected labels: of fewer, one word more or less decides


@torch.inference_mode()
def expected_labels(bundle: Bundle, encoded_batch: EncodedBatch, seconds: Sequence[float]) -> dict[int, float]:
    """About how many labels a text has at least, for each of `encoded_batch.indices` (positions in `seconds`).

    As many as CTC's best path has; of a model without a CTC head as many as all but one in a hundred of the training
    utterances have in that time. Nothing is known of such a model that does not state this rate.
    """
    if encoded_batch.log_probs is not None and encoded_batch.encoded is not None:
        ids = bundle.tokenizer
        frames = encoded_batch.encoded.frames
        path = best_path(encoded_batch.log_probs, frames, blank=ids.blank, excluded=(ids.sos, ids.eos))
        return dict(zip(encoded_batch.indices, map(float, path.lengths().tolist()), strict=True))
    rate = bundle.labels_per_second
    return {} if rate is None else {index: rate * seconds[index] for index in encoded_batch.indices}


def is_short(best: Hypothesis, expected: float | None) -> bool | None:
    """Whether the search ended a text far too early; None where nothing is expected. An empty text counts as empty."""
    if expected is None:
        return None
    return best.ended == "eos" and 0 < len(best.labels) < SHARE * expected and expected >= LEAST
