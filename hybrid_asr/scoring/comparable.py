"""Whether systems can be compared at all: the same utterances, with the same references."""

from collections.abc import Mapping

from hybrid_asr.common.problems import examples
from hybrid_asr.scoring.align import Unit, split
from hybrid_asr.scoring.scores import ScoringError
from hybrid_asr.scoring.text_report import counted


def refuse_incomparable(references: Mapping[str, Mapping[str, str]], unit: Unit) -> None:
    """Compare the references of several systems, by the system's name and the utterance's id, with the first system's.

    Raises ScoringError that names the two systems and the ids which only one of them has, or whose references differ
    in words or characters (`unit`).
    """
    (first, wanted), *others = references.items()
    for name, found in others:
        missing, more = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
        if missing or more:
            sides = [(first, missing), (name, more)]
            only = " and ".join(
                f"{counted(len(ids), 'utterance')} only of {side}: {examples(ids)}" for side, ids in sides if ids
            )
            raise ScoringError(f"{first} and {name} were not scored on the same utterances ({only}); use one set")
        odd = [key for key, text in wanted.items() if split(text, unit) != split(found[key], unit)]
        if odd:
            raise ScoringError(
                f"{first} and {name} were scored against different references of {counted(len(odd), 'utterance')}: "
                f"{examples(odd)}; score both against one file, with the same rules"
            )
