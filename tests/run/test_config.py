"""The sets that a configuration names."""

from dataclasses import replace

from hybrid_asr.run.config import set_paths
from hybrid_asr.run.folder import Run


def test_every_test_set_has_a_name_of_its_own(trained):
    """By its file; by its folder, too, where files are called the same."""
    cfg = Run(trained).read_config()
    data = replace(
        cfg.data, root="r", test=("an4/test.jsonl", "spoken/test.jsonl", "other/clean.jsonl", "x/valid.jsonl")
    )
    found = {name: path.as_posix() for name, path in set_paths(replace(cfg, data=data), ["test"]).items()}
    assert found == {
        "an4-test": "r/an4/test.jsonl",
        "spoken-test": "r/spoken/test.jsonl",
        "clean": "r/other/clean.jsonl",
        "x-valid": "r/x/valid.jsonl",
    }
    assert [path.name for path in set_paths(cfg, ["valid", "test", "valid"]).values()] == ["valid.jsonl", "test.jsonl"]
