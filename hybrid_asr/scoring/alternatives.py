"""Which of a reference's alternatives were said: the path through its words that has the fewest errors.

A reference with `{ a / b }` is a small graph of words without cycles; Levenshtein's alignment (1966) runs over it as
over a text, each word following the best of those that may stand before it.  Of equal ones that path is taken which
sclite's costs prefer: 4 for a substitution, 3 for a deletion or an insertion, 2 for an optional word left out.  What
remains are two plain texts, which are aligned like any other.

Axes: N nodes of the graph, H units of the hypothesis.
"""

import itertools
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from hybrid_asr.scoring.align import SPACELESS, Unit
from hybrid_asr.scoring.markup import Alternatives, MarkupError, Sequence, Word, is_marked, parse, plain_texts
from hybrid_asr.text.normalize import normalize

_ERROR = 1_000_000  # above any sum of the costs below, so that the number of errors decides
_SUBSTITUTED, _DELETED, _INSERTED, _LEFT_OUT = _ERROR + 4, _ERROR + 3, _ERROR + 3, 2
_MOST_PATHS = 256  # of a hypothesis
_MOST_CELLS = 50_000_000  # nodes times units of the hypothesis, 8 bytes each
_ROW_CELLS = 400  # a node takes as long as so many of its cells, however short the hypothesis
_STARTS_SPACELESS = re.compile(f"[{SPACELESS}]")


class Resolved(NamedTuple):
    """The texts that are compared, and the optional words of the reference that were left out: they count as right."""

    reference: str
    hypothesis: str
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Node:
    """A unit of the graph, or nothing (""), which joins paths; `before` are the nodes that may precede it."""

    unit: str
    before: tuple[int, ...]
    optional: bool = False
    word: Word | None = None  # the word that ends here


def resolve(
    reference: str, hypothesis: str, unit: Unit, *, marked_reference: bool, marked_hypothesis: bool
) -> Resolved:
    """The plain texts with the fewest errors, counted in `unit`, of texts that may hold alternatives.

    Texts of more than some 7,000 characters choose by words always. Raises MarkupError where braces do not close, a
    hypothesis has too many alternatives to try them all, or there are too many words to try them.
    """
    reference, hypothesis = normalize(reference, "none@1"), normalize(hypothesis, "none@1")
    texts = [hypothesis]
    if marked_hypothesis and is_marked(hypothesis):
        texts = list(dict.fromkeys(itertools.islice(plain_texts(hypothesis), _MOST_PATHS + 1)))
        if len(texts) > _MOST_PATHS:
            raise MarkupError(f"a hypothesis has more than {_MOST_PATHS} alternative texts; leave the best of them")
    if len(reference) * max(_ROW_CELLS, *map(len, texts)) > _MOST_CELLS:
        unit = "word"
    sequence = parse(reference) if marked_reference else tuple(Word(word) for word in reference.split())
    nodes = _graph(sequence, unit)
    if len(nodes) * max(len(text.split()) for text in texts) > _MOST_CELLS:
        raise MarkupError(
            f"the reference has {len(nodes):,} words, too many to choose alternatives; cut it into segments"
        )
    found = [(*_best_path(nodes, _units(text, unit)), text) for text in texts]
    _, path, text = min(found, key=lambda one: one[0])
    said = [nodes[index].word for index, left_out in path if not left_out]
    missing = [nodes[index].word for index, left_out in path if left_out]
    return Resolved(" ".join(word.text for word in said if word), text, tuple(word.text for word in missing if word))


def _graph(sequence: Sequence, unit: Unit) -> list[_Node]:
    """Nodes in an order in which each stands behind those before it; the first is the start, the last the end."""
    nodes = [_Node("", ())]

    def add(items: Sequence, before: tuple[int, ...]) -> tuple[int, ...]:
        for item in items:
            if isinstance(item, Alternatives):
                before = tuple(dict.fromkeys(end for way in item.ways for end in add(way, before)))
            else:
                entry, spelled = before, _units(item.text, unit)
                for place, one in enumerate(spelled, start=1):
                    last = place == len(spelled)
                    optional = item.optional and unit == "word"
                    nodes.append(_Node(one, before, optional, item if last else None))
                    before = (len(nodes) - 1,)
                if item.optional and unit == "character":  # a word is left out as a whole
                    nodes.append(_Node("", entry, optional=True, word=item))
                    before = (*before, len(nodes) - 1)
        return before

    nodes.append(_Node("", add(sequence, (0,))))
    return nodes


def _best_path(nodes: list[_Node], hypothesis: list[str]) -> tuple[int, list[tuple[int, bool]]]:
    """The cost of the cheapest alignment, and its nodes in order, each with whether it is left out."""
    steps = np.arange(len(hypothesis) + 1, dtype=np.int64) * _INSERTED
    rows: list[Int[np.ndarray, " units"]] = [steps]
    codes = {unit: code for code, unit in enumerate(dict.fromkeys(hypothesis))}
    written = np.array([codes[unit] for unit in hypothesis], dtype=np.int64)
    for node in nodes[1:]:
        before = np.min([rows[index] for index in node.before], axis=0)
        row = before + _gap(node)
        if node.unit:
            changed = np.where(written == codes.get(node.unit, -1), 0, _SUBSTITUTED)
            row[1:] = np.minimum(row[1:], before[:-1] + changed)
        rows.append(np.minimum.accumulate(row - steps) + steps)  # insertions behind it
    return int(rows[-1][-1]), _trace(nodes, rows, hypothesis)


def _trace(nodes: list[_Node], rows: list[Int[np.ndarray, " units"]], hypothesis: list[str]) -> list[tuple[int, bool]]:
    """The cheapest path, found from its end."""
    index, column, path = len(nodes) - 1, len(hypothesis), []
    while index:
        node, cost = nodes[index], rows[index][column]
        if node.unit and column:
            changed = 0 if node.unit == hypothesis[column - 1] else _SUBSTITUTED
            matched = next((one for one in node.before if rows[one][column - 1] + changed == cost), None)
            if matched is not None:
                path.append((index, False))
                index, column = matched, column - 1
                continue
        skipped = next((one for one in node.before if rows[one][column] + _gap(node) == cost), None)
        if skipped is None:
            column -= 1  # an insertion
            continue
        path.append((index, node.optional))
        index = skipped
    return path[::-1]


def _gap(node: _Node) -> int:
    """What it costs to have nothing of the hypothesis for a node."""
    if node.optional:
        return _LEFT_OUT
    return _DELETED if node.unit else 0


def _units(text: str, unit: Unit) -> list[str]:
    """Words; or characters, each word with the space before it, where its script has one."""
    if unit == "word":
        return text.split()
    return [one for word in text.split() for one in ("" if _STARTS_SPACELESS.match(word) else " ") + word]
