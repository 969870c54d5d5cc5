"""Damage to recipes, presets and a run's configuration: keys, values, and what YAML is capable of."""

import re

from .table import YAML, Case, damages

KEY = re.compile(r"(?<![\w.])([a-z_]+)(?=: )")
SCALAR = re.compile(r"(?<=: )[\w.@/-]+")


def value_put(case: Case, value: str) -> None:
    """Write `value` in the place of some plain value."""
    text = case.text
    one = case.rng.choice(list(SCALAR.finditer(text)))
    case.text = text[: one.start()] + value + text[one.end() :]


@damages(YAML, unseen=("config",))
def yaml_key_unknown(case: Case) -> None:
    """A key has another name; in a run's configuration the names of presets are for people alone."""
    text = case.text
    one = case.rng.choice(list(KEY.finditer(text)))
    other = case.rng.choice(["xyzzy", one.group()[:-1] + "q", "__init__", one.group() + "_", "_target_"])
    case.text = text[: one.start()] + other + text[one.end() :]


@damages(YAML, unseen=YAML)
def yaml_key_missing(case: Case) -> None:
    """A key and its value, on one line, are missing; many have a default."""
    text = re.sub(r"\n +(?=\w+:)", lambda found: found.group(), case.text)
    one = case.rng.choice(list(re.finditer(r"[a-z_]+: [\w.@/-]+(, )?", text)))
    case.text = text[: one.start()] + text[one.end() :]


@damages(YAML)
def yaml_key_repeated(case: Case) -> None:
    """A section stands there twice."""
    case.text = case.text + next(line for line in case.lines if re.match(r"[a-z]+:", line)).rstrip("\n") + "\n"


@damages(YAML)
def yaml_key_of_another_type(case: Case) -> None:
    """A key that YAML reads as a number, a truth value, a date, nothing or a list."""
    case.text = case.text + case.rng.choice(
        ["1: 2\n", "on: 1\n", "2001-01-01: 1\n", "~: 1\n", "? [a, b]\n: 1\n", "1.5: 2\n"]
    )


@damages(YAML)
def yaml_value_of_another_type(case: Case) -> None:
    """A value is a list, keys, a date, bytes, a set."""
    value_put(case, case.rng.choice(["[1, [2]]", "{a: {b: c}}", "!!binary aGVsbG8=", "!!set {a, b}"]))


@damages(YAML, unseen=YAML)
def yaml_value_odd(case: Case) -> None:
    """A value is null, a truth value, a text, an octal or sexagesimal number: some may stand there."""
    value_put(case, case.rng.choice(["null", "2001-12-14", "yes", "true", "0o17", "1:30", "'x'", "~", "???", "''"]))


@damages(YAML)
def yaml_deep_flow(case: Case) -> None:
    """Brackets in brackets, a hundred thousand deep."""
    value_put(case, "[" * 100_000 + "]" * 100_000)


@damages(YAML)
def yaml_deep_block(case: Case) -> None:
    """Keys in keys, two thousand deep."""
    case.text = case.text + "".join(" " * depth + "a:\n" for depth in range(2000))


@damages(YAML)
def yaml_alias_bomb(case: Case) -> None:
    """A billion laughs: aliases of aliases of aliases."""
    bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    case.text = bomb + case.text


@damages(YAML)
def yaml_alias_of_itself(case: Case) -> None:
    """A list that holds itself."""
    case.text = case.text + case.rng.choice(["seed: &a [*a]\n", "loss: &b {c: *b}\n", "x: &c {<<: *c}\n"])


@damages(YAML)
def yaml_alias_unknown(case: Case) -> None:
    """An alias of nothing."""
    value_put(case, "*nothing")


@damages(YAML)
def yaml_python_tag(case: Case) -> None:
    """A tag that would run code."""
    command = f"touch {case.marker}"
    value_put(
        case,
        case.rng.choice(
            [
                f"!!python/object/apply:os.system ['{command}']",
                f"!!python/object/new:os.system ['{command}']",
                f"!!python/object/apply:subprocess.check_output [['touch', '{case.marker}']]",
                "!!python/name:os.system",
                "!!python/module:antigravity",
            ]
        ),
    )


@damages(YAML)
def yaml_resolver(case: Case) -> None:
    """A call of OmegaConf's resolvers, which read the environment or files."""
    value_put(case, case.rng.choice(["'${oc.env:HOME}'", "'${oc.decode:1}'", "'${oc.create:{a: 1}}'", "'${env:PATH}'"]))


@damages(YAML, unseen=("config",))
def yaml_reference_that_leads_nowhere(case: Case) -> None:
    """A reference to itself, in a circle, or to nothing; in a run's configuration nothing refers, there it is text."""
    value_put(case, case.rng.choice(["${nothing.there}", "${a", "${a.b.c}", "'${x}'"]))


@damages(YAML)
def yaml_two_documents(case: Case) -> None:
    """A second document in the file."""
    case.text = case.text + "---\n" + case.text


@damages(YAML)
def yaml_section_of_another_type(case: Case) -> None:
    """A list, a number or a text where keys should stand."""
    case.text = case.rng.choice(["- a\n- b\n", "7\n", "just text\n", "--- |\n  text\n", "[]\n", "null\n", "'{}'\n"])


@damages(YAML)
def yaml_indented_wrongly(case: Case) -> None:
    """A line that is indented by one, or by a tab."""
    lines = case.lines
    at = 1 + case.place(len(lines) - 1)
    lines[at] = case.rng.choice(["\t", "   "]) + lines[at].lstrip()
    case.lines = [*lines, " odd: 1\n"]


@damages(YAML, unseen=YAML)
def yaml_huge(case: Case) -> None:
    """A list of two hundred thousand numbers on one line."""
    value_put(case, "[" + "1, " * 200_000 + "1]")
