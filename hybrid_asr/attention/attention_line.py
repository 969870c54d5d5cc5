"""A line of attention.jsonl: what was measured of one utterance after an epoch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from hybrid_asr.attention.alarms import PER_HEAD

COSTS = ("nats", "nats_shuffled")  # a number each


@dataclass(frozen=True, eq=False)
class AttentionLine:
    """Measures by their names, NaN where there is none: `costs` in nats a label, `tables` of all layers and heads.

    An earlier version measured less.
    """

    epoch: int
    id: str
    costs: Mapping[str, float]
    tables: Mapping[str, Float[np.ndarray, "layers heads"]]

    @property
    def is_complete(self) -> bool:
        """Whether it has all that the alarm checks."""
        return self.costs.keys() >= {*COSTS} and self.tables.keys() >= {*PER_HEAD}

    @property
    def shape(self) -> tuple[int, ...]:
        """Layers and heads."""
        return self.tables[PER_HEAD[0]].shape

    def to_line(self) -> str:
        """Its line, with the newline."""
        costs = {name: _number(value) for name, value in self.costs.items()}
        tables = {
            name: [[_number(value) for value in row] for row in rows.tolist()] for name, rows in self.tables.items()
        }
        return json.dumps({"epoch": self.epoch, "id": self.id} | costs | tables) + "\n"

    @classmethod
    def from_line(cls, text: str) -> "AttentionLine | None":
        """What the alarm needs of a line: of the tables those of `PER_HEAD` alone.

        None where the line does not say of which epoch it is or holds what is no table of numbers.
        """
        try:
            row = json.loads(text)
            tables = {name: np.array(row[name], dtype=np.float64) for name in PER_HEAD if name in row}
            costs = {name: np.array(row[name], dtype=np.float64) for name in COSTS if name in row}
        except (ValueError, TypeError, OverflowError, RecursionError):
            return None
        if not isinstance(row, dict) or not isinstance(row.get("epoch"), int):
            return None
        alike = len({table.shape for table in tables.values()}) <= 1
        if not alike or any(table.ndim != 2 for table in tables.values()) or any(cost.ndim for cost in costs.values()):
            return None
        return cls(row["epoch"], str(row.get("id", "")), {name: float(cost) for name, cost in costs.items()}, tables)


def _number(value: float) -> float | None:
    """As JSON has it, which knows neither NaN nor infinity."""
    return round(value, 4) if np.isfinite(value) else None
