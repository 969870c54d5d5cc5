"""Refuses, with its line, what YAML allows and a configuration never needs, before anything is built from it."""

import re

import yaml

from hybrid_asr.config.schema import ConfigError

DEEPEST = 40  # levels; PyYAML's own recursion ends at some hundreds, and with a crash where the stack is small
MOST = 10_000  # values, those that aliases repeat included
_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map", "timestamp")}
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_DIGITS = re.compile(r"[\d_]{400,}")
_OPEN = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_CLOSE = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


def check_yaml(text: str, where: str, *, most: int = MOST) -> None:
    """Raise ConfigError, which names `where` and the line, for what no configuration needs.

    That is: values nested too deeply, aliases that refer to themselves or multiply, values of other types than text,
    numbers, lists and keys (any tag that would run code among them), keys that are not text, numbers of too many
    digits, more than `most` values.
    Raises yaml.YAMLError for what is not YAML.
    """
    _check_size(text, where, most)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{where}: expected keys and values at the top of the file")
    pending, seen = [root] if root is not None else [], set()
    while pending:
        node = pending.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        _check_value(node, where)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                _check_key(key, where)
                pending.append(value)
        elif isinstance(node, yaml.SequenceNode):
            pending += node.value


def _check_size(text: str, where: str, most: int) -> None:
    """Count levels and values, without building any."""
    sizes: dict[str, int] = {}
    stack: list[tuple[str | None, int]] = [(None, 0)]  # the anchor of each open list or section, and its values so far
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, _OPEN):
            stack.append((event.anchor, 1))
        elif isinstance(event, _CLOSE):
            anchor, size = stack.pop()
            stack[-1] = (stack[-1][0], stack[-1][1] + size)
            if anchor:
                sizes[anchor] = size
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in stack):
                raise ConfigError(f"{where}:{line}: the alias '*{event.anchor}' is inside the value that it refers to")
            stack[-1] = (stack[-1][0], stack[-1][1] + sizes.get(event.anchor, 1))
        else:
            stack[-1] = (stack[-1][0], stack[-1][1] + 1)
        if len(stack) > DEEPEST:
            raise ConfigError(f"{where}:{line}: more than {DEEPEST} levels of keys or lists in each other")
        if stack[-1][1] > most:
            raise ConfigError(f"{where}:{line}: more than {most:,} values; a configuration has some hundreds")


def _check_value(node: yaml.Node, where: str) -> None:
    line = node.start_mark.line + 1
    if node.tag not in _PLAIN:
        raise ConfigError(
            f"{where}:{line}: the tag '{_short(node.tag)}' is not allowed here; text, numbers and lists are"
        )
    if node.tag.endswith(":int") and _DIGITS.search(node.value):
        raise ConfigError(f"{where}:{line}: a number of {len(node.value)} digits; correct it")


def _check_key(key: yaml.Node, where: str) -> None:
    """YAML reads `1:`, `on:` or `no:` as other things than text."""
    if key.tag not in (_TEXT, _MERGE):
        shown = key.value if isinstance(key.value, str) else "[...]"
        raise ConfigError(f"{where}:{key.start_mark.line + 1}: the key {shown!r} is not text; put it in quotes")


def _short(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
