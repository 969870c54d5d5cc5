"""A configuration as YAML, with a comment on where each value comes from."""

from hybrid_asr.config.compose import Composed
from hybrid_asr.config.files import scalar, to_yaml
from hybrid_asr.config.locate import display_path
from hybrid_asr.config.schema import plain


def show(composed: Composed, cls: type) -> str:
    """The resolved configuration: every value of `cls` with its source, the defaults too.

    The text is YAML again; comments above it list what the recipe
    wrote for other presets than the chosen ones. Raises ConfigError.
    """
    lines = [f"# recipe: {display_path(composed.recipe)}"] if composed.recipe else []
    for path, value in composed.dropped.items():
        name = composed.presets[path.partition(".")[0]]
        lines.append(f"# left out: {path}: {scalar(value)}, which the recipe wrote for another preset than {name}")
    return "".join(f"{line}\n" for line in lines) + to_yaml(plain(composed.parse(cls)), composed.sources)
