"""When attention does not follow the speech: said in plain words, with likely causes and what to try.

The bounds were set by trained, untrained and sabotaged models; docs/attention.md has their figures.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

FOLLOWS = 0.5  # monotonicity of the leading head: trained models have 0.63 and more, untrained ones less than 0.3
LISTENS = 0.3  # of decoders that march: draws of trained ones have 0.49 and more, of deaf ones 0.13 at most
UNIFORM = 0.9  # entropy, of attention that looks everywhere alike
STUCK = 0.35  # coverage, of attention that looks at one place

CAUSES = {
    "uniform": (
        "the decoder writes from what it has written and has not learned to listen",
        "a CTC head beside it (loss.ctc_weight=0.3), an encoder that already hears (init.from=a CTC run), "
        "loss.guide.weight=1, shorter utterances first (data.shortest_first_epochs), a higher optim.lr",
    ),
    "stuck": (
        "all rows look at the same frames: often silence at an edge, or wrong lengths",
        "attention kind 'location', loss.guide.weight=1, less audio in a batch; check the manifests' durations",
    ),
    "deaf": (
        "location-aware attention has learned to move on, while the encoder does not tell frames apart; transcripts of "
        "other utterances, or features in a wrong order",
        "'hybrid-asr show batch RUN STEP' and listen to what it names; then an encoder that already hears "
        "(init.from=a CTC run), a CTC head beside it (loss.ctc_weight=0.3), attention kind 'additive'",
    ),
    "disordered": (
        "transcripts of other utterances, features in a wrong order, or a training that has only begun",
        "'hybrid-asr show batch RUN STEP' and listen to what it names; then loss.guide.weight=1 or more epochs",
    ),
}


class Heads(NamedTuple):
    """What is known of each head, means over utterances; and the decoder's `listening`, NaN if nobody has measured."""

    monotonicity: Float[np.ndarray, "layers heads"]
    marching: Float[np.ndarray, "layers heads"]
    entropy: Float[np.ndarray, "layers heads"]
    coverage: Float[np.ndarray, "layers heads"]
    listening: float

    def leading(self) -> tuple[int, int]:
        """Layer and head, from 0, that follow the speech best."""
        best = np.nan_to_num(self.monotonicity, nan=-2.0)
        layer, head = np.unravel_index(int(best.argmax()), best.shape)
        return int(layer), int(head)


def listening(nats: float, shuffled: float) -> float:
    """How much of its text a decoder has from the frames' order, by the nats of a label with and without it."""
    return 1 - nats / shuffled if shuffled else float("nan")


PER_HEAD = ("monotonicity", "marching", "entropy", "coverage")  # of Heads: a table each


def describe_problem(heads: Heads) -> str | None:
    """What is wrong with attention of which no head follows the speech; None where one does, or nobody can tell."""
    layer, head = heads.leading()
    best = float(heads.monotonicity[layer, head])
    follows = best >= FOLLOWS
    deaf = heads.marching[layer, head] >= FOLLOWS and heads.listening < LISTENS
    if np.isnan(best) or (follows and not deaf):
        return None
    uniform = [place for place, row in enumerate(heads.entropy) if (row >= UNIFORM).all()]
    whose = "no head follows the speech"
    if follows:
        kind, marching, whose = "deaf", heads.marching[layer, head], "attention moves on at its own pace"
        seen = (
            f"with the frames in random order it moves on as well ({marching:.2f}), and the text is hardly less likely "
            f"(listening {heads.listening:.2f})"
        )
    elif len(uniform) == len(heads.entropy):
        kind, seen = "uniform", f"all heads of {_layers(uniform)} are near uniform"
    elif heads.coverage[layer, head] < STUCK:
        kind, seen = "stuck", f"the rest of the time but {heads.coverage[layer, head]:.0%} is never looked at"
    else:
        kind, seen = "disordered", "it looks at single places, but in no order"
        if uniform:
            seen += f"; all heads of {_layers(uniform)} are near uniform"
    cause, remedy = CAUSES[kind]
    return (
        f"{whose} (head {head + 1} of layer {layer + 1} does best: monotonicity {best:.2f}, entropy "
        f"{heads.entropy[layer, head]:.2f}; most trained models have 0.8 and more): {seen}. Likely: {cause}. "
        f"Try: {remedy}"
    )


def _layers(places: Sequence[int]) -> str:
    names = [str(place + 1) for place in places]
    return f"layer {names[0]}" if len(names) == 1 else f"layers {', '.join(names[:-1])} and {names[-1]}"


class AttentionAlarm:
    """Looks at each measured epoch; an alarm comes after `patience` epochs in a row without a head that follows."""

    def __init__(self, patience: int):
        self.patience = patience
        self.lost: list[int] = []  # epochs since a head followed
        self.told = False

    def add(self, epoch: int, heads: Heads) -> str | None:
        """Take an epoch; what is to be told, once until a head follows again."""
        problem = describe_problem(heads)
        if problem is None:
            self.lost, self.told = [], False
            return None
        self.lost.append(epoch)
        if self.told or len(self.lost) < self.patience:
            return None
        self.told = True
        since = f"in {len(self.lost)} validations, since epoch {self.lost[0]}"
        return f"epoch {epoch}: attention is chaotic {since}: {problem}"
