"""Processes that train together agree before the first step on what they are about to do; else none of them begins.

Each would train on its own share with its own numbers, and the sums of their gradients would be those of no training.
"""

import socket
from collections.abc import Mapping, Sequence

from torch import distributed

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.problems import SHOWN, examples
from hybrid_asr.config.compose import digest
from hybrid_asr.training.process_group import end_silently, gather, is_connected


class Disagreement(UserError):
    """Processes that were to train together and differ; the message says in what, and which."""


def agree(facts: Mapping[str, str]) -> None:
    """Compare `facts`, texts by their names, among all processes, which must all call this.

    What a process does not know is not among its facts, and not compared. Raises Disagreement in the first process;
    the others then end without a word, with the same status.
    """
    if not is_connected() or len(set(gather(digest(dict(facts))))) == 1:
        return
    problem = differences(gather(dict(facts)), gather(socket.gethostname()))
    if not problem:
        return
    if distributed.get_rank() > 0:
        end_silently()
    raise Disagreement(problem)


def differences(facts: Sequence[Mapping[str, str]], hosts: Sequence[str]) -> str:
    """In what the processes on `hosts` differ, in the order of their ranks; empty where they agree.

    What most of them have, in doubt the first one, is named last.
    """
    names = sorted({name for some in facts for name in some})
    lines = [line for name in names if (line := _difference(name, [some.get(name) for some in facts], hosts))]
    if not lines:
        return ""
    more = f"\n  … and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return (
        "the processes of this training differ, nothing was written:\n  "
        + "\n  ".join(lines[:SHOWN])
        + more
        + "\ngive all of them the same data, settings and code, and one folder"
    )


def _difference(name: str, values: Sequence[str | None], hosts: Sequence[str]) -> str:
    ranks: dict[str, list[int]] = {}
    for rank, value in enumerate(values):
        if value is not None:
            ranks.setdefault(value, []).append(rank)
    if len(ranks) < 2:
        return ""
    usual = max(ranks, key=lambda value: (len(ranks[value]), -ranks[value][0]))
    others = sorted(ranks.keys() - {usual}, key=lambda value: ranks[value])
    return f"{name}: " + "; ".join(f"{_who(ranks[value], hosts)}: {value}" for value in (*others, usual))


def _who(ranks: Sequence[int], hosts: Sequence[str]) -> str:
    places = sorted({hosts[rank] for rank in ranks})
    kind, host = ("process" if len(ranks) == 1 else "processes"), ("host" if len(places) == 1 else "hosts")
    return f"{kind} {examples(list(map(str, ranks)))} ({host} {examples(places)})"
