"""A run's folder: whose training it holds, what may change in it, and what of it cannot be used."""

import shutil

import pytest
import torch
import yaml

from hybrid_asr.cli import main
from hybrid_asr.config.schema import parse, plain
from hybrid_asr.run.config import RunConfig, affects_weights, signature, weight_settings
from hybrid_asr.run.folder import Run, RunError, default_folder
from tests.tones import train


def snapshot(folder) -> dict[str, tuple[int, int]]:
    """All files of a folder with their sizes and times."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run, to be spoilt."""
    return shutil.copytree(trained, tmp_path / "run")


SAME = ["trainer.epochs=12", "trainer.average_count=6"]


def test_the_configuration_is_kept_as_it_was(trained):
    cfg = Run(trained).read_config()
    assert plain(cfg) == yaml.safe_load((trained / "config.yaml").read_text())
    assert parse(RunConfig, plain(cfg)) == cfg
    assert (cfg.features.bins, cfg.decode.beam, cfg.trainer.epochs) == (20, 3, 12)


def test_a_signature_hashes_what_decides_the_weights_and_nothing_else(trained):
    cfg = Run(trained).read_config()

    def changed(section, **values):
        tree = plain(cfg)
        target = tree[section] if section else tree
        target.update(values)
        return signature(parse(RunConfig, tree))

    free = [
        *(changed("decode", beam=7), changed("trainer", devices=2), changed("trainer", average_count=2)),
        *(changed("data", root="elsewhere"), changed("data", test=[]), changed("data", workers=3)),
        *(changed("", metric="cer"), changed("", presets={}), changed("", logger={"kind": "tensorboard"})),
    ]
    assert set(free) == {signature(cfg)}
    decisive = [
        *(changed("", seed=2), changed("optim", lr=0.5), changed("trainer", epochs=3), changed("text", rules="none@1")),
        *(changed("data", batch_seconds=9.0), changed("loss", ctc_weight=0.1), changed("augment", speeds=[0.9, 1.0])),
        *(changed("features", bins=24), changed("trainer", precision="bf16"), changed("init", parts=["encoder"])),
    ]
    assert len({signature(cfg), *decisive}) == len(decisive) + 1


def test_settings_that_runs_had_not_at_first_change_no_signature_until_they_are_set(trained):
    tree = plain(Run(trained).read_config())
    assert {("text", "language"), ("text", "tags"), ("data", "empty")} <= {
        (s, k) for s in ("text", "data") for k in tree[s]
    }
    former = {
        **tree,
        "text": {"rules": tree["text"]["rules"]},
        "data": {k: v for k, v in tree["data"].items() if k != "empty"},
    }
    assert weight_settings(tree) == weight_settings(former)
    for section, name, value in [("text", "language", "tr"), ("text", "tags", "keep"), ("data", "empty", "leave_out")]:
        assert weight_settings({**tree, section: {**tree[section], name: value}}) != weight_settings(former)


def test_what_affects_no_weight_does_so_to_its_leaves():
    assert not any(
        affects_weights(path) for path in ("decode.beam", "data.check.speakers", "trainer.devices", "presets.model")
    )
    assert all(
        affects_weights(path) for path in ("data.train", "data", "trainer", "trainer.epochs", "model", "decoder")
    )


def test_a_run_s_place_follows_its_recipe(tmp_path):
    assert default_folder(tmp_path / "an4/conformer_s.yaml").as_posix() == "runs/an4/conformer_s"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (["seed=2"], ["seed: 1 there, 2 now"]),
        (["optim.lr=0.5", "loss.ctc_weight=0.25"], ["optim.lr: 0.01 there, 0.5 now", "loss.ctc_weight: 0.5 there"]),
        (["presets.model=transformer_s"], ['model.encoder.kind: "conformer" there, "transformer" now']),
        (["data.train=valid.jsonl"], ['data.train: "train.jsonl" there']),
    ],
)
def test_a_training_with_other_weights_is_refused(run, tones, capsys, settings, named):
    before = snapshot(run)
    assert train(tones, run, *SAME, *settings) == 2
    told = capsys.readouterr().err
    assert all(text in told for text in named), told
    assert "give --folder DIR for a folder of its own, or --fresh" in told
    assert "Traceback" not in told
    assert snapshot(run) == before


def test_a_run_of_another_recipe_is_refused(run, tones, tmp_path, capsys):
    other = tmp_path / "other.yaml"
    other.write_text((tones / "tiny.yaml").read_text().replace("dim: 32", "dim: 16"))
    assert main(["train", str(other), f"data.root={tones}", *SAME, "--folder", str(run)]) == 2
    assert "model.encoder.dim: 32 there, 16 now" in capsys.readouterr().err


def test_harmless_changes_are_welcome(run, tones):
    settings = ["trainer.save_minutes=9.0", "decode.beam=9", "data.test=[]", "trainer.log_every=7", "data.workers=1"]
    assert train(tones, run, *SAME, *settings) == 0
    assert Run(run).read_config().decode.beam == 9
    assert Run(run).bundle()[0].config == plain(Run(run).read_config()), "the model knows what the run knows"


def test_fewer_checkpoints_can_be_averaged_later(run, tones):
    assert train(tones, run, "trainer.epochs=12", "trainer.average_count=2") == 0
    states = [torch.load(run / f"checkpoints/epoch-{epoch:03d}.ckpt", weights_only=True) for epoch in (11, 12)]
    name = "model.ctc.project.weight"
    expected = torch.stack([state["state_dict"][name].double() for state in states]).mean(0).float()
    assert torch.equal(torch.load(run / "model.pt", weights_only=True)["weights"][name], expected)


def test_training_data_that_have_changed_are_refused(run, tones, tmp_path, capsys):
    """Also where the configuration reads the same: the manifest's content counts."""
    data = shutil.copytree(tones, tmp_path / "data")
    assert train(data, run, *SAME) == 0, "the same data in another place"
    lines = (data / "train.jsonl").read_text().splitlines(keepends=True)
    (data / "train.jsonl").write_text("".join(lines[:-1]))
    before = snapshot(run)
    capsys.readouterr()
    assert train(data, run, *SAME) == 2
    assert "the training data or the configuration have changed since step" in capsys.readouterr().err
    assert snapshot(run) == before


def test_fresh_starts_anew_only_if_it_can_start(run, tones, capsys):
    assert main(["decode", str(run), "--decoders", "ctc_greedy"]) == 0
    before = snapshot(run)
    assert train(tones, run, "trainer.epochs=1", "data.batch_seconds=0.2", "--fresh") == 2
    assert "data.batch_seconds is 0.2" in capsys.readouterr().err
    assert snapshot(run) == before, "a refused training has taken nothing away"
    assert train(tones, run, "trainer.epochs=1", "--fresh") == 0
    assert "continuing" not in capsys.readouterr().err
    assert not (run / "decode").exists()
    assert sorted(path.name for path in (run / "checkpoints").glob("epoch-*")) == ["epoch-001.ckpt"]


def test_other_people_s_folders_are_left_alone(tones, tmp_path, capsys):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("precious")
    for more in ([], ["--fresh"]):
        assert train(tones, folder, *more) == 2
        assert "not empty and not a run" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["chapter.tex"]
    assert train(tones, folder / "chapter.tex") == 2
    assert "a file, not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.pt", "checkpoints/last.ckpt"])
@pytest.mark.parametrize("spoil", ["cut", "text", "empty", "foreign"])
def test_damaged_and_foreign_files_are_named(run, tones, name, spoil, capsys):
    path = run / name
    (run / "checkpoints/previous.ckpt").unlink()  # else training would go on from it
    match spoil:
        case "cut":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "text":
            path.write_text("not a checkpoint")
        case "empty":
            path.write_bytes(b"")
        case "foreign":
            torch.save({"state_dict": {"conv1.weight": torch.zeros(3)}, "epoch": 4}, path)
    before = snapshot(run)
    audio = str(tones / "test/00.wav")
    if name == "model.pt":
        commands = [["decode", str(run)], ["transcribe", str(run), audio], ["show", "model", str(path)]]
    else:
        again = ["train", str(tones / "tiny.yaml"), f"data.root={tones}", *SAME, "--folder", str(run)]
        commands = [again, ["decode", str(run), "--checkpoint", "last"], ["transcribe", str(path), audio]]
    for command in commands:
        assert main(command) == 2
        told = capsys.readouterr().err
        assert name in told, told
        assert "Traceback" not in told
    assert snapshot(run) == before


def test_a_folder_without_a_run_says_how_to_get_one(tmp_path):
    with pytest.raises(RunError, match=r"no config.yaml; train first: hybrid-asr train RECIPE --folder"):
        Run(tmp_path).read_config()
