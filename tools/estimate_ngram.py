"""Estimate a word n-gram from transcripts and write it in ARPA's format (Witten and Bell, 1991, interpolated).

    python tools/estimate_ngram.py data/an4/train.jsonl --rules upper@1 --order 3 --to data/an4/train.arpa

    p(w | h) = (c(h w) + n(h) p(w | h without its first word)) / (c(h) + n(h))

c counts, n(h) is the number of different words that follow h. Below the unigrams stands 1 / V for each of the V words,
the end of a sentence and <unk> among them; words of `--words`, a list or a lexicon, that were never said share in this.
"""

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hybrid_asr.data.manifest import Manifest
from hybrid_asr.files import write_text
from hybrid_asr.text.arpa import BEGIN, END, UNKNOWN
from hybrid_asr.text.lexicon import read_words
from hybrid_asr.text.normalise import RULES, normalise

Gram = tuple[str, ...]
NEVER = -99.0  # the logarithm to the base 10 of what has no probability, by custom


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, nargs="+")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--order", type=int, default=2, choices=range(1, 6))
    parser.add_argument("--rules", default="basic@1", choices=RULES)
    parser.add_argument("--words", type=Path, help="words that may be said, too: a list or a lexicon")
    asked = parser.parse_args()
    transcripts = (utterance.text for path in asked.manifest for utterance in Manifest.read(path, audio="unchecked"))
    sentences = [normalise(text, asked.rules).split() for text in transcripts]
    extra = read_words(asked.words, asked.rules) if asked.words else ()
    probs, weights = witten_bell(sentences, asked.order, extra)
    write_text(asked.to, arpa(probs, weights, asked.order))
    print(f"{asked.to}: {len(sentences)} sentences, {len(probs)} {asked.order}-grams and shorter")


if __name__ == "__main__":
    main()
