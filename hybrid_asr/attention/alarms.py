"""When attention does not follow the speech: a warning in plain words, with likely causes and what to try.

The bounds were set by trained, untrained and sabotaged models; docs/attention.md has their figures.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

FOLLOWS = 0.5  # monotonicity of the leading head: trained models have 0.63 and more, untrained ones less than 0.3
USES_AUDIO = 0.3  # `listening` of decoders that march: trained ones have 0.49 and more, of the others 0.13 at most
UNIFORM = 0.9  # entropy of weights that are nearly alike over all frames
STUCK = 0.35  # coverage of weights that stay on the same frames

CAUSES = {
    "uniform": (
        "the decoder predicts from the labels before alone, as a language model, and does not use the audio yet",
        "a CTC head beside it (loss.ctc_weight=0.3), a trained encoder (init.from=a CTC run), "
        "loss.guide.weight=1, shorter utterances first (data.shortest_first_epochs), a higher optim.lr",
    ),
    "stuck": (
        "all labels attend to the same frames: often silence at an edge, or wrong lengths",
        "attention kind 'location', loss.guide.weight=1, less audio in a batch; check the manifests' durations",
    ),
    "audio_unused": (
        "location-aware attention has learned to move on, while the encoder does not tell frames apart; transcripts of "
        "other utterances, or features in a wrong order",
        "'hybrid-asr show batch RUN STEP' and play the utterances it names; then a trained encoder "
        "(init.from=a CTC run), a CTC head beside it (loss.ctc_weight=0.3), attention kind 'additive'",
    ),
    "disordered": (
        "transcripts of other utterances, features in a wrong order, or a training that has only begun",
        "'hybrid-asr show batch RUN STEP' and play the utterances it names; then loss.guide.weight=1 or more epochs",
    ),
}


class Heads(NamedTuple):
    """The measures of each head, means over utterances; and the decoder's `listening`, NaN where it is not measured."""

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
    """How much of its text a decoder takes from the frames' order, by the nats of a label with and without it.

    0 where a label costs the same with shuffled frames, toward 1 the more it costs then; NaN where that is 0.
    """
    return 1 - nats / shuffled if shuffled else float("nan")


PER_HEAD = ("monotonicity", "marching", "entropy", "coverage")  # of Heads: a table each


def describe_problem(heads: Heads) -> str | None:
    """What is wrong with attention of which no head follows the speech; None where one does, or it is not measured."""
    layer, head = heads.leading()
    best = float(heads.monotonicity[layer, head])
    follows = best >= FOLLOWS
    audio_unused = heads.marching[layer, head] >= FOLLOWS and heads.listening < USES_AUDIO
    if np.isnan(best) or (follows and not audio_unused):
        return None
    uniform = [number for number, row in enumerate(heads.entropy) if (row >= UNIFORM).all()]
    subject = "no head follows the speech"
    if follows:
        kind, marching, subject = "audio_unused", heads.marching[layer, head], "attention moves on at its own pace"
        symptom = (
            f"with the frames in random order it moves on as well ({marching:.2f}), and the text is hardly less likely "
            f"(listening {heads.listening:.2f})"
        )
    elif len(uniform) == len(heads.entropy):
        kind, symptom = "uniform", f"all heads of {_layers(uniform)} are near uniform"
    elif heads.coverage[layer, head] < STUCK:
        kind, symptom = "stuck", f"the rest of the time but {heads.coverage[layer, head]:.0%} gets no weight"
    else:
        kind, symptom = "disordered", "the weights are sharp, but in no order"
        if uniform:
            symptom += f"; all heads of {_layers(uniform)} are near uniform"
    cause, remedy = CAUSES[kind]
    return (
        f"{subject} (head {head + 1} of layer {layer + 1} does best: monotonicity {best:.2f}, entropy "
        f"{heads.entropy[layer, head]:.2f}; most trained models have 0.8 and more): {symptom}. Likely: {cause}. "
        f"Try: {remedy}"
    )


def _layers(numbers: Sequence[int]) -> str:
    names = [str(number + 1) for number in numbers]
    return f"layer {names[0]}" if len(names) == 1 else f"layers {', '.join(names[:-1])} and {names[-1]}"


class AttentionAlarm:
    """Checks each measured epoch; an alarm comes after `patience` epochs in a row without a head that follows."""

    def __init__(self, patience: int):
        self.patience = patience
        self.failing: list[int] = []  # epochs since a head followed
        self.alarmed = False

    def add(self, epoch: int, heads: Heads) -> str | None:
        """Take an epoch; gives the alarm, once until a head follows again."""
        problem = describe_problem(heads)
        if problem is None:
            self.failing, self.alarmed = [], False
            return None
        self.failing.append(epoch)
        if self.alarmed or len(self.failing) < self.patience:
            return None
        self.alarmed = True
        since = f"in {len(self.failing)} validations, since epoch {self.failing[0]}"
        return f"epoch {epoch}: attention has not aligned with the speech {since}: {problem}"
