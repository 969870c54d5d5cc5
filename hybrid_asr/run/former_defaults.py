"""Defaults of former versions: a run that began with one goes on with it, unless somebody writes another value."""

from collections.abc import Mapping

from hybrid_asr.config.compose import Composed
from hybrid_asr.config.files import Tree

FORMER_DEFAULTS = {"text.rules": "basic@1"}


def with_former_defaults(composed: Composed, begun: Mapping[str, object]) -> Composed:
    """The configuration for a run that began with the settings `begun`, by their dotted paths.

    Only what neither the recipe nor a preset nor the command line writes is taken from there.
    """
    tree: Tree = composed.tree
    for path, former in FORMER_DEFAULTS.items():
        section, _, name = path.partition(".")
        if path not in composed.sources and begun.get(path) == former:
            tree = tree | {section: tree.get(section, {}) | {name: former}}
    return Composed(tree=tree, sources=composed.sources, dropped=composed.dropped, recipe=composed.recipe)
