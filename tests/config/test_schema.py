"""`parse`: whatever is wrong is named by the path the user wrote, with the nearest right word; nothing is coerced."""

from dataclasses import field
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from hybrid_asr.config.schema import ConfigError, config, field_types, parse, plain
from hybrid_asr.config.words import suggest
from hybrid_asr.data.config import DataConfig


@config
class Greedy:
    kind: Literal["greedy"] = "greedy"


@config
class Beam:
    kind: Literal["beam"] = "beam"
    beam: Annotated[int, Field(gt=0)] = 10
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5


Search = Annotated[Greedy | Beam, Field(discriminator="kind")]


@config
class Layer:
    width: Annotated[int, Field(gt=0)]
    heads: int = 4

    def __post_init__(self):
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")


@config
class Root:
    layer: Layer
    name: str = "x"
    loss_weight: float = 0.3
    unit: Literal["char", "bpe"] = "char"
    search: Search = Beam()
    other: Search | None = None
    searches: tuple[Search, ...] = ()
    layers: list[Layer] = field(default_factory=list)
    named: dict[str, Layer] = field(default_factory=dict)
    speeds: tuple[float, ...] = (1.0,)
    pair: tuple[int, str] = (1, "a")
    limit: int | str = 1
    stop: float | Literal["auto"] | None = None
    flag: bool = False


def problem(tree: dict[str, Any], **options: Any) -> str:
    """The message about `tree` merged over a tree that is right."""
    with pytest.raises(ConfigError) as caught:
        parse(Root, {"layer": {"width": 8}} | tree, **options)
    return str(caught.value)


WRONG = {
    "unknown key": ({"nmae": "y"}, "nmae: unknown key; did you mean 'name'?"),
    "unknown, nothing near": ({"zzz": 1}, "zzz: unknown key; known: flag, layer, layers, limit,"),
    "nested": ({"layer": {"width": 8, "haeds": 2}}, "layer.haeds: unknown key; did you mean 'heads'?"),
    "in a union": (
        {"search": {"kind": "beam", "baem": 2}},
        "search.baem: unknown key of kind 'beam'; did you mean 'beam'?",
    ),
    "of another kind": (
        {"search": {"kind": "greedy", "beam": 2}},
        "search.beam: unknown key of kind 'greedy'; known: kind",
    ),
    "in an optional union": (
        {"other": {"kind": "beam", "beam": 0}},
        "other.beam: Input should be greater than 0, got 0",
    ),
    "in a list": (
        {"layers": [{"width": 8}, {"width": 8, "haeds": 8}]},
        "layers.1.haeds: unknown key; did you mean 'heads'?",
    ),
    "a union in a list": (
        {"searches": [{"kind": "beam", "beam": -1}]},
        "searches.0.beam: Input should be greater than 0",
    ),
    "in a dict": ({"named": {"a": {"width": "8"}}}, 'named.a.width: Input should be a valid integer, got "8"'),
    "missing": ({"layer": {}}, "layer.width: required, but not given"),
    "no kind": ({"search": {"beam": 3}}, "search.kind: required, but not given; known: beam, greedy"),
    "unknown kind": ({"search": {"kind": "bean"}}, "search.kind: unknown kind 'bean'; did you mean 'beam'?"),
    "literal": ({"unit": "chars"}, "got \"chars\"; did you mean 'char'?"),
    "literal of another type": ({"unit": 3}, "unit: Input should be 'char' or 'bpe', got 3; known: bpe, char"),
    "text for a number": ({"loss_weight": "0.3"}, 'loss_weight: Input should be a valid number, got "0.3"'),
    "fraction for a count": ({"layer": {"width": 8.0}}, "layer.width: Input should be a valid integer, got 8.0"),
    "yes for a number": ({"layer": {"width": True}}, "layer.width: Input should be a valid integer, got true"),
    "number for yes": ({"flag": 1}, "flag: Input should be a valid boolean, got 1"),
    "null": ({"name": None}, "name: Input should be a valid string, got null"),
    "scalar for a section": ({"layer": 3}, "layer: expected keys, got 3; known: heads, width"),
    "list element": ({"speeds": [1.0, "fast"]}, 'speeds.1: Input should be a valid number, got "fast"'),
    "fixed tuple": ({"pair": [1, 2]}, "pair.1: Input should be a valid string, got 2"),
    "scalar for a list": ({"speeds": 1.0}, "speeds: Input should be a valid array, got 1.0"),
    "plain union": (
        {"limit": 1.5},
        "limit: Input should be a valid integer, got 1.5 or Input should be a valid string",
    ),
    "number or word": ({"stop": "aut"}, "stop: Input should be a valid number, got \"aut\" or Input should be 'auto'"),
    "range": (
        {"search": {"kind": "beam", "weight": 1.5}},
        "search.weight: Input should be less than or equal to 1, got 1.5",
    ),
    "relation": ({"layer": {"width": 9}}, "layer: width 9 is not a multiple of heads 4"),
    "relation in a list": ({"layers": [{"width": 9}]}, "layers.0: width 9 is not a multiple of heads 4"),
    "NaN": ({"loss_weight": float("nan")}, "loss_weight: Input should be a finite number, got NaN"),
    "NaN in a range": ({"search": {"kind": "beam", "weight": float("nan")}}, "search.weight: Input should be"),
    "infinity in a list": ({"speeds": [float("inf")]}, "speeds.0: Input should be a finite number, got Infinity"),
    "not plain": ({"name": object()}, "configuration: only text, numbers, lists and keys are allowed here"),
}


@pytest.mark.parametrize("tree, expected", WRONG.values(), ids=WRONG.keys())
def test_every_mistake_is_named_by_its_path(tree, expected):
    message = problem(tree)
    assert expected in message
    assert "\n" not in message


def test_all_mistakes_are_named_at_once():
    assert problem({"nmae": 1, "flag": 1, "layer": {"width": -4}}).count("\n") == 2


def test_where_and_sources_are_named():
    message = problem({"layer": {"width": 8, "haeds": 2}}, where="decode", sources={"layer.haeds": "command line"})
    assert message == "decode.layer.haeds: unknown key; did you mean 'heads'? (command line)"
    assert problem({"layer": {}}, sources={"layer.heads": "r.yaml"}).endswith(
        "not given (r.yaml)"
    )  # its section was written there
    assert problem({"name": 1}, sources={"named": "r.yaml"}).endswith("got 1")


def test_a_section_alone_and_a_union_alone_can_be_parsed():
    assert parse(Search, {"kind": "beam", "beam": 3}) == Beam(beam=3)
    with pytest.raises(ConfigError, match=r"^beam: Input should be greater"):
        parse(Search, {"kind": "beam", "beam": 0})
    with pytest.raises(ConfigError, match=r"^configuration: width 9"):
        parse(Layer, {"width": 9})


def test_a_whole_number_serves_as_a_float_and_a_list_as_a_tuple():
    cfg = parse(Root, {"layer": {"width": 8}, "loss_weight": 1, "speeds": [1, 2]})
    assert isinstance(cfg.loss_weight, float)
    assert cfg.speeds == (1.0, 2.0)
    assert isinstance(cfg.speeds[0], float)


def test_a_configuration_is_frozen_and_keyword_only():
    with pytest.raises(AttributeError):
        Beam().beam = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        Beam("beam")  # type: ignore[misc]


@given(st.integers(1, 99), st.floats(0, 1), st.lists(st.floats(allow_nan=False, allow_infinity=False)), st.text())
def test_plain_is_the_inverse_of_parse(beam, weight, speeds, name):
    tree = {
        "layer": {"width": 8},
        "search": {"kind": "beam", "beam": beam, "weight": weight},
        "speeds": speeds,
        "name": name,
    }
    cfg = parse(Root, tree)
    assert parse(Root, plain(cfg)) == cfg
    assert plain(cfg)["search"] == tree["search"]
    assert plain(cfg)["name"] == name


def test_fields_of_a_union_are_those_of_all_members():
    assert set(field_types(Search)) == {"kind", "beam", "weight"}
    assert field_types(int) == {}


def test_suggest_names_one_near_word_or_all():
    assert suggest("jiont", ["joint", "attention"]) == "did you mean 'joint'?"
    assert suggest("qqq", ["b", "a"]) == "known: a, b"
    assert suggest("qqq", []) == "nothing is known here"


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ([{"manifest": "a.jsonl", "wieght": 2}], "data.train.0.wieght: unknown key; did you mean 'weight'?"),
        (["a.jsonl"], 'data.train.0: expected keys, got "a.jsonl"; known: manifest, weight'),
    ],
)
def test_a_mistake_in_a_list_is_told_of_its_entry_alone(train, message):
    """Not that the list is no text, which the setting may be as well."""
    with pytest.raises(ConfigError) as refused:
        parse(DataConfig, {"train": train, "valid": "b.jsonl", "batch_seconds": 10}, where="data")
    assert str(refused.value) == message
