"""N-grams of words or of units by Witten and Bell (1991), interpolated, and ARPA's format for them.

    p(w | h) = (c(h w) + n(h) p(w | h without its first word)) / (c(h) + n(h))

c counts, n(h) is the number of different words that follow h. The unigrams are interpolated with 1 / V for each of the
V words, which include the end of a sentence and <unk>.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from hybrid_asr.text.ngram import BEGIN, END, UNKNOWN
from hybrid_asr.text.tokenizer import Tokenizer

Gram = tuple[str, ...]
NEVER = -99.0  # the logarithm to the base 10 that stands for a probability of 0, by convention
SPACE = "\u2581"  # stands for a space in a unit's name, as sentencepiece writes it


def unit_names(tokenizer: Tokenizer) -> dict[int, str]:
    """What an n-gram calls each label but blank, sos and eos: its text without spaces, <unk>, else <LABEL>.

    No two labels have the same name; the names are in the order of the labels.
    """
    names: dict[int, str] = {}
    taken = {"", BEGIN, END, UNKNOWN}
    for label in range(tokenizer.vocab_size):
        if label == tokenizer.unk:
            names[label] = UNKNOWN
        elif label not in (tokenizer.blank, tokenizer.sos, tokenizer.eos):
            [text] = tokenizer.pieces([label])
            name = SPACE.join(text.split(" "))
            names[label] = f"<{label}>" if name in taken or name.split() != [name] else name
            taken.add(names[label])
    return names


def counts_of(sentences: Iterable[Sequence[str]], order: int) -> list[Counter[Gram]]:
    """How often each n-gram of each order occurs in the sentences, with <s> before and </s> after them."""
    counts: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        words = (BEGIN, *sentence, END)
        for size in range(1, order + 1):
            counts[size - 1].update(words[start : start + size] for start in range(len(words) - size + 1))
    return counts


def witten_bell(
    sentences: Iterable[Sequence[str]], order: int, extra: Iterable[str] = ()
) -> tuple[dict[Gram, float], dict[Gram, float]]:
    """The probability of every n-gram that occurs, and the back-off weight of every context; `extra` are more words."""
    counts = counts_of(sentences, order)
    vocabulary = {word for (word,) in counts[0]} - {BEGIN} | {END, UNKNOWN, *extra}
    probs: dict[Gram, float] = {(): 1 / len(vocabulary)}
    weights: dict[Gram, float] = {}
    del counts[0][(BEGIN,)]
    for word in vocabulary:
        counts[0].setdefault((word,), 0)
    for grams in counts:
        totals: dict[Gram, int] = defaultdict(int)
        followers: dict[Gram, int] = defaultdict(int)
        for gram, count in grams.items():
            totals[gram[:-1]] += count
            followers[gram[:-1]] += count > 0
        weights |= {
            context: followers[context] / (totals[context] + followers[context]) for context in totals if context
        }
        for gram, count in grams.items():
            context = gram[:-1]
            lower = probs[gram[1:]] if context else 1 / len(vocabulary)
            probs[gram] = (count + followers[context] * lower) / (totals[context] + followers[context])
    del probs[()]
    return probs, weights


def arpa(probs: Mapping[Gram, float], weights: Mapping[Gram, float], order: int) -> str:
    """The text of an ARPA file, from `witten_bell`'s probabilities and weights."""
    grams = {size: sorted(gram for gram in probs if len(gram) == size) for size in range(1, order + 1)}
    grams[1].append((BEGIN,))
    lines = ["\\data\\", *(f"ngram {size}={len(listed)}" for size, listed in grams.items())]
    for size, listed in grams.items():
        lines += ["", f"\\{size}-grams:"]
        for gram in listed:
            value = math.log10(probs[gram]) if gram in probs else NEVER
            back = f"\t{math.log10(weights[gram]):.7f}" if gram in weights else ""
            lines.append(f"{value:.7f}\t{' '.join(gram)}{back}")
    return "\n".join([*lines, "", "\\end\\", ""])
