"""`compose`: presets, then the recipe, then the command line; whatever is wrong is named with where it was written."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from hybrid_asr.config.compose import amend, compose, digest
from hybrid_asr.config.files import flatten, load_yaml, to_yaml
from hybrid_asr.config.locate import find_corpus, find_preset, find_recipe
from hybrid_asr.config.schema import ConfigError, config, plain
from hybrid_asr.config.show import show


@config
class Greedy:
    kind: Literal["greedy"] = "greedy"


@config
class Beam:
    kind: Literal["beam"] = "beam"
    beam: Annotated[int, Field(gt=0)] = 10
    ctc_weight: float = 0.3


@config
class Loss:
    ctc_weight: Annotated[float, Field(ge=0, le=1)] = 0.3
    smoothing: float = 0.1


@config
class Toy:
    finder: Annotated[Greedy | Beam, Field(discriminator="kind")]
    loss: Loss = Loss()
    sets: tuple[str, ...] = ("test",)
    seed: int = 1
    presets: dict[str, str] = field(default_factory=dict)


FILES = {
    "conf/finder/wide.yaml": "kind: beam\nbeam: 20\n",
    "conf/finder/greedy.yaml": "kind: greedy\n",
    "conf/finder/nested.yaml": "presets: {finder: wide}\n",
    "conf/loss/plain.yaml": "{}\n",
    "recipes/toy/small.yaml": "presets: {finder: wide}\nfinder: {ctc_weight: 0.5}\nloss: {smoothing: 0.2}\nseed: 3\n",
    "recipes/toy/prepare.py": "",
}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """The current folder, with presets and a recipe of its own."""
    for name, text in FILES.items():
        write(tmp_path / name, text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def problem(recipe: Path | str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(recipe, overrides).parse(Toy)
    return str(caught.value)


def test_later_wins_and_every_value_knows_its_source():
    composed = compose("toy/small", ["finder.beam=40", "seed=7", "sets=[a, b]"])
    assert composed.tree == {
        "presets": {"finder": "wide"},
        "finder": {"kind": "beam", "beam": 40, "ctc_weight": 0.5},
        "loss": {"smoothing": 0.2},
        "seed": 7,
        "sets": ["a", "b"],
    }
    assert composed.sources == {
        "presets.finder": "recipes/toy/small.yaml",
        "finder.kind": "conf/finder/wide.yaml",
        "finder.beam": "command line",
        "finder.ctc_weight": "recipes/toy/small.yaml",
        "loss.smoothing": "recipes/toy/small.yaml",
        "seed": "command line",
        "sets": "command line",
    }
    assert composed.parse(Toy) == Toy(
        finder=Beam(beam=40, ctc_weight=0.5),
        loss=Loss(smoothing=0.2),
        sets=("a", "b"),
        seed=7,
        presets={"finder": "wide"},
    )


def test_another_preset_leaves_out_what_the_recipe_wrote_for_its_own():
    composed = compose("toy/small", ["presets.finder=greedy"])
    assert composed.parse(Toy).finder == Greedy()
    assert composed.dropped == {"finder.ctc_weight": 0.5}
    assert composed.presets == {"finder": "greedy"}
    assert composed.sources["presets.finder"] == "command line"
    assert "# left out: finder.ctc_weight: 0.5" in show(composed, Toy)


def test_naming_the_recipes_own_preset_changes_nothing():
    assert compose("toy/small", ["presets.finder=wide"]).tree == compose("toy/small").tree


def test_a_preset_on_the_command_line_beats_numbers_without_a_preset():
    composed = compose("toy/small", ["presets.loss=plain"])
    assert composed.parse(Toy).loss == Loss()
    assert composed.dropped == {"loss.smoothing": 0.2}


def test_values_of_overrides_are_yaml():
    def value(text):
        return compose("toy/small", [f"seed={text}"]).tree["seed"]

    expected = {"1e-3": 1e-3, "1": 1, "true": True, "null": None, "[1, 2]": [1, 2], "'1'": "1", "a=b": "a=b", "": None}
    assert {text: value(text) for text in expected} == expected


def test_keys_of_an_override_are_merged_and_null_removes():
    assert compose("toy/small", ["loss={ctc_weight: 1}"]).tree["loss"] == {"smoothing": 0.2, "ctc_weight": 1}
    composed = compose("toy/small", ["loss=null", "loss.ctc_weight=1"])
    assert composed.tree["loss"] == {"ctc_weight": 1}
    assert composed.sources["loss.ctc_weight"] == "command line"
    assert "loss.smoothing" not in composed.sources


def test_a_reference_stands_for_another_value(project):
    recipe = write(project / "r.yaml", "presets: {finder: wide}\nloss: {ctc_weight: '${finder.ctc_weight}'}\n")
    composed = compose(recipe, ["finder.ctc_weight=0.7"])
    assert composed.tree["loss"]["ctc_weight"] == 0.7
    assert composed.sources["loss.ctc_weight"] == "r.yaml"
    written = compose(recipe, ["loss=${finder}", "finder.ctc_weight=0.7"])
    assert written.tree["loss"] == written.tree["finder"]
    assert written.sources["loss.kind"] == "command line"


OVERRIDES = {
    "seed": "command line: 'seed' is no override; write key=value",
    "=3": "command line: '=3' is no override",
    "--seed=3": "is no override",
    "a..b=3": "is no override",
    "seed=[1": "command line: 'seed=[1': the value is not YAML",
    "sede=2": "sede: unknown key; did you mean 'seed'? (command line)",
    "finder.baem=2": "finder.baem: unknown key of kind 'beam'; did you mean 'beam'? (command line)",
    "finder.beam=0": "finder.beam: Input should be greater than 0, got 0 (command line)",
    "finder.beam=many": 'finder.beam: Input should be a valid integer, got "many" (command line)',
    "finder.kind=greedy": "finder.kind: a preset decides the kind; choose it by presets.finder=PRESET, one of greedy",
    "finder.kind={a: 1}": "finder.kind: unknown kind",
    "finder=3": "finder: expected keys, got 3",
    "finder=null": "finder: expected keys, got null",
    "seed.x=2": 'seed: Input should be a valid integer, got {"x": 2} (command line)',
    "sets.0=dev": 'sets: Input should be a valid array, got {"0": "dev"} (command line)',
    "presets.fnder=wide": "command line: presets.fnder: unknown section; did you mean 'finder'?",
    "presets.finder=wid": "command line: presets.finder: unknown preset 'wid'; did you mean 'wide'?",
    "presets.finder=../finder/wide": "unknown preset '../finder/wide'",
    "presets.finder=3": "command line: presets.finder: expected the name of a preset, got 3",
    "presets.finder.kind=3": "write presets.SECTION=PRESET",
    "presets=wide": "write presets.SECTION=PRESET",
    "presets.finder=nested": "conf/finder/nested.yaml: a preset never includes another preset",
    "seed=???": "seed: required, but not given (command line)",
    "seed=${oc.env:HOME}": "seed: '${oc.env:HOME}': only ${a.b}",
    "sets=['${oc.env:HOME}']": "sets: '${oc.env:HOME}': only ${a.b}",
    "seed=${nowhere}": "seed: Interpolation key 'nowhere' not found (command line)",
    "sets=['${nowhere}']": "sets.0: Interpolation key 'nowhere' not found (command line)",
    "loss.smoothing=.nan": "loss.smoothing: Input should be a finite number, got NaN (command line)",
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_a_bad_override_is_named(override):
    assert OVERRIDES[override] in problem("toy/small", override)


RECIPES = {
    "duplicate": ("seed: 1\nloss: {}\nseed: 2\n", "r.yaml:3: found duplicate key seed"),
    "malformed": ("seed: 1\nloss: [1\nsets: x\n", "r.yaml:3: "),
    "tab": ("loss:\n\tsmoothing: 1\n", "r.yaml:2: found character"),
    "object": ("seed: !!python/object:os.system x\n", "r.yaml:1: the tag '!!python/object:os.system'"),
    "control character": ("seed: \x01\n", "r.yaml:1: holds the control character"),
    "list": ("- 1\n", "r.yaml: expected keys and values at the top"),
    "empty": ("", "finder: required, but not given"),
    "key not text": ("presets: {finder: wide}\nloss: {1: 2}\n", "r.yaml:2: the key '1' is not text; put it in quotes"),
    "set": ("seed: !!set {a}\n", "r.yaml:1: the tag '!!set' is not allowed here"),
    "circle": ("seed: &x [*x]\n", "r.yaml"),
    "brace": ("seed: '${a'\n", "r.yaml:1: "),
    "presets": ("presets: wide\n", "r.yaml: presets: write {section: preset, ...}, got 'wide'"),
    "preset": ("presets: {finder: wied}\n", "r.yaml: presets.finder: unknown preset 'wied'; did you mean 'wide'?"),
    "section": ("presets: {fidner: wide}\n", "r.yaml: presets.fidner: unknown section; did you mean 'finder'?"),
    "key": ("presets: {finder: wide}\nlos: {}\n", "los: unknown key; did you mean 'loss'? (r.yaml)"),
    "value": ("presets: {finder: wide}\nseed: 1.5\n", "seed: Input should be a valid integer, got 1.5 (r.yaml)"),
}


@pytest.mark.parametrize("text, expected", RECIPES.values(), ids=RECIPES.keys())
def test_a_bad_recipe_is_named(text, expected, project):
    message = problem(write(project / "r.yaml", text))
    assert expected in message
    assert "\n" not in message


def test_a_binary_recipe_and_a_folder_are_refused(project):
    (project / "r.yaml").write_bytes(b"\x89PNG\xff\xfe")
    assert "r.yaml:1: is not UTF-8 (byte 0)" in problem("r.yaml")
    assert "recipes/toy: no such recipe" in problem("recipes/toy")


def test_recipes_are_found_by_path_and_by_name(project):
    expected = project / "recipes/toy/small.yaml"
    for name in (
        "toy/small",
        "toy/small.yaml",
        "recipes/toy/small.yaml",
        "./recipes/toy/small",
        expected,
        str(expected),
    ):
        assert find_recipe(name) == expected
    (project / "mine.yaml").write_text("seed: 1")
    assert "mine.yml: no such recipe; did you mean 'mine.yaml'?" in problem("mine.yml")
    assert "mien.yaml: no such recipe; did you mean 'mine.yaml'?" in problem("mien.yaml")
    assert "recipes/toy/smal.yaml: no such recipe; did you mean 'toy/small'?" in problem("recipes/toy/smal.yaml")


def test_where_the_user_stands_wins_file_by_file(project, tmp_path_factory, monkeypatch):
    assert find_preset("finder", "wide") == project / "conf/finder/wide.yaml"
    assert find_corpus("toy") == project / "recipes/toy/prepare.py"
    with pytest.raises(ConfigError, match="tpy: no such corpus; did you mean 'toy'"):
        find_corpus("tpy")
    packaged = find_recipe("spoken/conformer_s")
    mine = write(project / "recipes/spoken/conformer_s.yaml", "seed: 1\n")
    assert find_recipe("spoken/conformer_s") == mine
    assert find_recipe("an4/conformer_s") != project / "recipes/an4/conformer_s.yaml"
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    assert find_recipe("recipes/spoken/conformer_s.yaml") == packaged


def test_amend_replaces_a_section_by_a_preset_and_keeps_the_rest():
    tree = plain(compose("toy/small").parse(Toy))
    assert amend(tree, [], source="run").parse(Toy) == compose("toy/small").parse(Toy)
    composed = amend(tree, ["finder.beam=3"], source="runs/x/config.yaml", using={"finder": "wide"})
    assert composed.parse(Toy) == Toy(finder=Beam(beam=3), loss=Loss(smoothing=0.2), seed=3, presets={"finder": "wide"})
    assert composed.sources["seed"] == "runs/x/config.yaml"
    with pytest.raises(ConfigError, match=r"command line: presets.finder: unknown preset 'wid'"):
        amend(tree, [], source="run", using={"finder": "wid"})


def test_show_is_yaml_again_and_tells_the_source_of_every_value(project):
    text = show(compose("toy/small", ["seed=9"]), Toy)
    assert load_yaml(write(project / "shown.yaml", text)) == plain(compose("toy/small", ["seed=9"]).parse(Toy))
    rows = {line.split(":")[0].strip(): line.partition("#")[2].strip() for line in text.splitlines() if line[0] != "#"}
    assert rows.pop("finder") == "recipes/toy/small.yaml"  # the preset's name, below the section of that name
    assert rows == {
        "kind": "conf/finder/wide.yaml",
        "beam": "conf/finder/wide.yaml",
        "ctc_weight": "default",
        "loss": "",
        "smoothing": "recipes/toy/small.yaml",
        "sets": "default",
        "seed": "command line",
        "presets": "",
    }
    assert text.startswith("# recipe: recipes/toy/small.yaml\n")


def test_show_names_mistakes_too():
    with pytest.raises(ConfigError, match="sede: unknown key"):
        show(compose("toy/small", ["sede=9"]), Toy)


text = st.text(st.characters(codec="utf-8")).filter(lambda word: "$" not in word and word != "???")
scalar = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
value = st.recursive(scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))


@given(st.dictionaries(text, value, max_size=4))
def test_to_yaml_reads_back_as_the_same(tmp_path_factory, tree):
    path = tmp_path_factory.getbasetemp() / "tree.yaml"
    assert load_yaml(write(path, to_yaml(tree))) == tree
    assert load_yaml(write(path, to_yaml(tree, {}))) == tree


def test_digest_tells_trees_apart_and_ignores_the_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert len({digest(tree) for tree in ({"a": 1}, {"a": "1"}, {"a": 1.5}, {"b": 1}, {"a": [1]}, {"a": None})}) == 6
    with pytest.raises(ValueError, match="Out of range"):
        digest({"a": float("nan")})


def test_leaves_are_scalars_lists_and_empty_sections():
    assert dict(flatten({"a": {"b": 1, "c": {}}, "d": [{"e": 1}]})) == {"a.b": 1, "a.c": {}, "d": [{"e": 1}]}
