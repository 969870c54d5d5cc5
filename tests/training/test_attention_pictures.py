"""A picture after each validation: of the epoch that it names, in loggers too, and never at the training's cost."""

import shutil

import pytest
import torch
from PIL import Image

from hybrid_asr.data.manifest import Manifest
from hybrid_asr.models.lstm_decoder import LstmDecoderConfig
from hybrid_asr.nn.rnn_attention import FixedConfig
from hybrid_asr.pages.epoch_heat_map import draw_epoch
from hybrid_asr.run.folder import Run
from hybrid_asr.training.attention_monitor import AttentionMonitor
from hybrid_asr.training.attention_pictures import AttentionPictures, find_pictures
from tests.tones import rows, train

SETTINGS = ("trainer.epochs=3", "trainer.save_minutes=1e-9", "presets.logger=tensorboard")
NAMES = ["epoch_0001.png", "epoch_0002.png", "epoch_0003.png"]


@pytest.fixture(scope="module")
def drawn(tones, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "drawn"
    assert train(tones, run, *SETTINGS, "trainer.attention_pictures=2") == 0
    return run


def pictures(folder):
    return AttentionPictures(folder, draw=draw_epoch, show=print, steps_per_epoch=7)


def names(run):
    return sorted(path.name for path in (run / "attention").iterdir())


def test_each_validation_leaves_a_picture_with_the_numbers_of_its_row(drawn):
    assert names(drawn) == NAMES
    numbers = zip(rows(drawn, "attention.monotonicity"), rows(drawn, "attention.entropy"), strict=True)
    for name, epoch, (monotonicity, entropy) in zip(NAMES, (1, 2, 3), numbers, strict=True):
        title = Image.open(drawn / "attention" / name).info["Title"]
        assert title.startswith(f"Epoch {epoch}: layer 1, head ")
        assert f"monotonicity {monotonicity:.2f}," in title and f"entropy {entropy:.2f}," in title


def test_tensorboard_shows_them_at_their_steps(drawn):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(drawn / "tensorboard"))
    events.Reload()
    shown = events.Images("attention/leading_head")
    assert [one.step for one in shown] == [e.step for e in events.Scalars("attention.monotonicity")]
    for name, one in zip(NAMES, shown, strict=True):
        assert Image.open(drawn / "attention" / name).size == (one.width, one.height)


def test_they_change_nothing_of_the_training(drawn, tones, tmp_path):
    assert train(tones, tmp_path / "run", *SETTINGS, "trainer.attention_pictures=0") == 0
    assert not (tmp_path / "run" / "attention").exists()
    for name in ("metrics.csv", "attention.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (drawn / name).read_bytes()
    one, other = (torch.load(run / "model.pt", weights_only=True)["weights"] for run in (drawn, tmp_path / "run"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_where_they_cannot_be_written_the_training_goes_on_and_says_so_once(drawn, tones, tmp_path, capsys):
    """A training that was killed goes on; where its pictures lay somebody has put a file."""
    run = shutil.copytree(drawn, tmp_path / "run")
    for path in (run / "model.pt", run / "checkpoints/last.ckpt"):
        path.unlink()
    saved = torch.load(run / "checkpoints/previous.ckpt", weights_only=True)["step"]
    shutil.rmtree(run / "attention")
    (run / "attention").write_text("mine")
    assert train(tones, run, *SETTINGS, "trainer.attention_pictures=2") == 0
    told = capsys.readouterr().err
    assert f"at step {saved} of" in told
    assert told.count("no picture of attention after epoch") == 1
    assert (run / "attention").read_text() == "mine"
    assert (run / "attention.jsonl").read_bytes() == (drawn / "attention.jsonl").read_bytes()


def test_pictures_behind_the_epoch_from_which_it_goes_on_are_removed(tmp_path, capsys):
    for number in (1, 2, 3, 10000):
        (tmp_path / f"epoch_{number:04d}.png").write_bytes(b"")
    for other in ("epoch_0003.png.bak", "epoch_last.png", "notes.txt"):
        (tmp_path / other).write_bytes(b"")
    (tmp_path / ".epoch_0003.png.999999999.tmp").write_bytes(b"half")
    keeper = pictures(tmp_path)
    keeper.continue_from(2)
    assert list(find_pictures(tmp_path)) == [1, 2]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"epoch_0001.png", "epoch_0002.png", "epoch_0003.png.bak", "epoch_last.png", "notes.txt"}
    (tmp_path / "epoch_0009.png").mkdir()
    keeper.continue_from(2)
    keeper.continue_from(2)
    assert capsys.readouterr().err.count("behind epoch 2 are still there") == 1


def test_short_and_long_utterances_are_drawn_but_not_what_looks_at_one_frame_by_design(drawn, tones):
    cfg, manifest = Run(drawn).read_config(), Manifest.read(tones / "valid.jsonl")
    fixed = LstmDecoderConfig(dim=8, embedding=8, attention=FixedConfig())

    def chosen(decoder):
        file = drawn / "attention.jsonl"
        return AttentionMonitor(
            cfg.trainer, decoder, file, manifest, pictures=pictures(drawn), alarms=print, epochs=4
        ).drawn_utterances

    seconds = manifest.durations[chosen(cfg.model.decoder)]
    assert list(seconds) == [manifest.durations.min(), manifest.durations.max()]
    assert chosen(fixed) == []


def test_a_fresh_training_forgets_them(drawn, tmp_path):
    run = Run(shutil.copytree(drawn, tmp_path / "run"))
    run.clear()
    assert not (run.folder / "attention").exists()
