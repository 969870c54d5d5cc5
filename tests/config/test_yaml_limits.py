"""What YAML can do and a configuration never needs is refused with its line, and without being built."""

import pytest

from hybrid_asr.config.files import load_yaml
from hybrid_asr.config.schema import ConfigError

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
REFUSED = {
    "a billion laughs": (LAUGHS, "r.yaml:5: more than 10,000 values"),
    "deep flow": ("a: 1\nb: " + "[" * 100_000 + "]" * 100_000, "r.yaml:2: more than 40 levels"),
    "deep block": ("".join(" " * depth + "a:\n" for depth in range(900)), "r.yaml:40: more than 40 levels"),
    "itself": ("a: 1\nb: &b [*b]\n", "r.yaml:2: the alias '*b' is inside the value that it refers to"),
    "itself in keys": ("b: &b {c: *b}\n", "r.yaml:1: the alias '*b' is inside"),
    "code": ("a: 1\nb: !!python/object/apply:os.system [x]\n", "r.yaml:2: the tag '!!python/object/apply:os.system'"),
    "bytes": ("a: !!binary aGVsbG8=\n", "r.yaml:1: the tag '!!binary' is not allowed here"),
    "digits": ("a: 1\nb: " + "7" * 5000, "r.yaml:2: a number of 5000 digits"),
    "zero byte": ("a: 1\nb: \0\n", "r.yaml:2: holds the control character 0x00"),
    "date for a key": ("2001-01-01: 1\n", "r.yaml:1: the key '2001-01-01' is not text"),
    "list for a key": ("? [a, b]\n: 1\n", "r.yaml:1: the key '[...]' is not text"),
    "number": ("7\n", "r.yaml: expected keys and values at the top"),
    "two documents": ("a: 1\n---\nb: 2\n", "r.yaml:2: "),
    "half a reference": ("a: 1\nb: ${x\n", "r.yaml:2: cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_its_line(case, tmp_path, monkeypatch):
    text, message = REFUSED[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_yaml(tmp_path / "r.yaml")
    assert str(raised.value).startswith(message)


def test_what_people_write_is_read(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(
        "\ufeffbase: &base {a: 1, b: [1, 2.5, null, yes]}\r\nother: {<<: *base, c: größe}\r\nagain: *base\r\n"
    )
    base = {"a": 1, "b": [1, 2.5, None, True]}
    assert load_yaml(path) == {"base": base, "other": base | {"c": "größe"}, "again": base}
    path.write_text("")
    assert load_yaml(path) == {}


def test_a_file_that_nobody_wrote_by_hand_is_not_read(tmp_path):
    (tmp_path / "r.yaml").write_text("a: " + "x" * 2_000_000)
    with pytest.raises(ConfigError, match="has 2,000,003 bytes, more than the 1,048,576"):
        load_yaml(tmp_path / "r.yaml")
    (tmp_path / "s.yaml").symlink_to("s.yaml")
    with pytest.raises(ConfigError, match="a symbolic link that leads in a circle"):
        load_yaml(tmp_path / "s.yaml")
