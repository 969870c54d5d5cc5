"""What the arguments of several commands are made of."""

import argparse
import textwrap
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    commands: Commands, name: str, summary: str, description: str, *examples: str
) -> argparse.ArgumentParser:
    """A sub-command: a line for the list of commands, a paragraph and examples for its own --help."""
    return commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(description, 80),
        epilog="\n".join(["examples:", *(f"  hybrid-asr {name} {example}" for example in examples)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_recipe(command: argparse.ArgumentParser) -> None:
    """A recipe and its settings."""
    command.add_argument("recipe", metavar="RECIPE.yaml", help="a recipe's file, or CORPUS/RECIPE")
    command.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="key=value",
        help="settings, such as optim.lr=1e-3 or presets.optim=noam",
    )


def add_channel(command: "argparse._ActionsContainer") -> None:
    command.add_argument(
        "--channel", type=int, metavar="N", help="the channel that is read, from 1 (default: the mean of all)"
    )
