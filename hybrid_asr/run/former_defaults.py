"""Defaults of former versions: a run that began with one goes on with it, unless somebody writes another value."""

from collections.abc import Mapping

from hybrid_asr.config.compose import Composed
from hybrid_asr.config.files import Tree

FORMER_DEFAULTS = {"text.rules": "basic@1", "data.plan": 1}
BEFORE_THEY_WERE_WRITTEN = {"data.plan": 1}  # what a run has that began before there was the setting


def with_former_defaults(composed: Composed, begun: Mapping[str, object]) -> Composed:
    """The configuration for a run that began with the settings `begun`, by their dotted paths; none of a new run.

    Only what neither the recipe nor a preset nor the command line writes is taken from there.
    """
    tree: Tree = composed.tree
    had = {**BEFORE_THEY_WERE_WRITTEN, **begun} if begun else {}
    for path, former in FORMER_DEFAULTS.items():
        if path not in composed.sources and had.get(path) == former:
            tree = _with(tree, path, former)
    return Composed(tree=tree, sources=composed.sources, dropped=composed.dropped, recipe=composed.recipe)


def as_it_began(tree: Tree) -> Tree:
    """The configuration of a run as its file says, with the settings that it had before they were written there."""
    for path, former in BEFORE_THEY_WERE_WRITTEN.items():
        section, _, name = path.partition(".")
        if name not in tree.get(section, {}):
            tree = _with(tree, path, former)
    return tree


def _with(tree: Tree, path: str, value: object) -> Tree:
    section, _, name = path.partition(".")
    return tree | {section: tree.get(section, {}) | {name: value}}
