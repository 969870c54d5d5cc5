"""The results of a study for notebooks: one row for each utterance of each output."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybrid_asr.scoring.scores import UtteranceErrors
from hybrid_asr.study.metric import StudyError
from hybrid_asr.study.writing import FORM

COLUMNS = (
    *("variant", "seed", "set", "decoder", "utterance", "speaker"),
    *("words", "word_errors", "characters", "character_errors"),
)


@dataclass(frozen=True)
class Table:
    """Columns by their names, each with one value for each row; `pandas.DataFrame(table.columns)` takes them.

    `study` is all that study.json says.
    """

    columns: dict[str, list[Any]]
    study: dict[str, Any]

    def __len__(self) -> int:
        return len(self.columns[COLUMNS[0]])

    def __getitem__(self, column: str) -> list[Any]:
        return self.columns[column]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows."""
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, values, strict=True))


def load(path: Path | str) -> Table:
    """What a study found, from its study.json. Raises StudyError where that is none, or of another version."""
    file = Path(path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"{file}: {error.strerror}; give the study.json that 'hybrid-asr study' has written") from None
    except ValueError as error:
        raise StudyError(f"{file}: is not JSON ({error}); write it again by 'hybrid-asr study'") from None
    if not isinstance(content, dict) or content.get("form") != FORM:
        raise StudyError(
            f"{file}: no study.json of this version; move it away, and write it again by 'hybrid-asr study'"
        )
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for output in content["outputs"]:
        for row in map(UtteranceErrors.from_json, output["rows"]):
            values = (
                *(output[name] for name in COLUMNS[:4]),
                *(row.id, row.speaker),
                *(row.words.reference, row.words.errors, row.characters.reference, row.characters.errors),
            )
            for name, value in zip(COLUMNS, values, strict=True):
                columns[name].append(value)
    return Table(columns, content)
