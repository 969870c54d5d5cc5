"""Estimate a word n-gram from transcripts and write it in ARPA's format (hybrid_asr/text/estimate.py).

    python tools/estimate_ngram.py data/an4/train.jsonl --rules upper@1 --order 3 --to data/an4/train.arpa

Words of `--words`, a list or a lexicon, that were never said have the probability of <unk>, each for itself.
"""

import argparse
from pathlib import Path

from hybrid_asr.common.files import write_text
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.text.estimate import arpa, witten_bell
from hybrid_asr.text.lexicon import read_words
from hybrid_asr.text.normalize import RULES, normalize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, nargs="+")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--order", type=int, default=2, choices=range(1, 6))
    parser.add_argument("--rules", default="basic@1", choices=RULES)
    parser.add_argument("--words", type=Path, help="words that may be said, too: a list or a lexicon")
    asked = parser.parse_args()
    transcripts = (utterance.text for path in asked.manifest for utterance in Manifest.read(path, audio="unchecked"))
    sentences = [normalize(text, asked.rules).split() for text in transcripts]
    extra = read_words(asked.words, asked.rules) if asked.words else ()
    probs, weights = witten_bell(sentences, asked.order, extra)
    write_text(asked.to, arpa(probs, weights, asked.order))
    print(f"{asked.to}: {len(sentences)} sentences, {len(probs)} {asked.order}-grams and shorter")


if __name__ == "__main__":
    main()
