"""Word n-grams by Witten and Bell (1991), interpolated, and ARPA's format for them.

    p(w | h) = (c(h w) + n(h) p(w | h without its first word)) / (c(h) + n(h))

c counts, n(h) is the number of different words that follow h. Below the unigrams stands 1 / V for each of the V words,
the end of a sentence and <unk> among them.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from hybrid_asr.text.ngram import BEGIN, END, UNKNOWN
from hybrid_asr.text.tokenizer import Tokenizer

Gram = tuple[str, ...]
NEVER = -99.0  # the logarithm to the base 10 of what has no probability, by custom
SPACE = "\u2581"  # stands for a space in a unit's name, as sentencepiece writes it


def unit_names(tokenizer: Tokenizer) -> dict[int, str]:
    """What an n-gram calls each label but blank, sos and eos: its text without spaces, <unk>, else <LABEL>.

    No two labels have the same name; the names stand in the order of the labels.
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
    """How often each n-gram of each order stands in the sentences, with <s> before and </s> behind them."""
    counts: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        words = (BEGIN, *sentence, END)
        for size in range(1, order + 1):
            counts[size - 1].update(words[at : at + size] for at in range(len(words) - size + 1))
    return counts


def witten_bell(
    sentences: Iterable[Sequence[str]], order: int, extra: Iterable[str] = ()
) -> tuple[dict[Gram, float], dict[Gram, float]]:
    """The probability of every n-gram that was said, and the back-off weight of every context."""
    counts = counts_of(sentences, order)
    vocabulary = {word for (word,) in counts[0]} - {BEGIN} | {END, UNKNOWN, *extra}
    probs: dict[Gram, float] = {(): 1 / len(vocabulary)}
    weights: dict[Gram, float] = {}
    del counts[0][(BEGIN,)]
    for word in vocabulary:
        counts[0].setdefault((word,), 0)
    for grams in counts:
        said: dict[Gram, int] = defaultdict(int)
        kinds: dict[Gram, int] = defaultdict(int)
        for gram, count in grams.items():
            said[gram[:-1]] += count
            kinds[gram[:-1]] += count > 0
        weights |= {context: kinds[context] / (said[context] + kinds[context]) for context in said if context}
        for gram, count in grams.items():
            context = gram[:-1]
            lower = probs[gram[1:]] if context else 1 / len(vocabulary)
            probs[gram] = (count + kinds[context] * lower) / (said[context] + kinds[context])
    del probs[()]
    return probs, weights


def arpa(probs: Mapping[Gram, float], weights: Mapping[Gram, float], order: int) -> str:
    """The text of an ARPA file."""
    grams = {size: sorted(gram for gram in probs if len(gram) == size) for size in range(1, order + 1)}
    grams[1].append((BEGIN,))
    lines = ["\\data\\", *(f"ngram {size}={len(some)}" for size, some in grams.items())]
    for size, some in grams.items():
        lines += ["", f"\\{size}-grams:"]
        for gram in some:
            value = math.log10(probs[gram]) if gram in probs else NEVER
            back = f"\t{math.log10(weights[gram]):.7f}" if gram in weights else ""
            lines.append(f"{value:.7f}\t{' '.join(gram)}{back}")
    return "\n".join([*lines, "", "\\end\\", ""])
