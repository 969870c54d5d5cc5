"""Listen, attend and spell in training: sampling and guidance are functions of their place, and can be replayed."""

import pytest
import soundfile
import torch

from hybrid_asr.audio.augment import SpecAugment, SpecAugmentConfig
from hybrid_asr.cli import main
from hybrid_asr.commands.show_batch import replay
from hybrid_asr.losses import LossConfig
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.pages.attention_viewer import picture
from hybrid_asr.run.folder import Run
from hybrid_asr.text.characters import CharTokenizer
from hybrid_asr.training.initial_weights import InitConfig, take_weights
from hybrid_asr.training.module import SpeechModule
from hybrid_asr.training.optim import OptimConfig
from tests.tones import rows, train
from tests.training.test_module import batch_of

SMALL = (
    *("presets.model=las_hybrid", "model.encoder.dim=16", "model.encoder.cells=12", "model.encoder.joins=[1,1]"),
    *("model.encoder.channels=4", "model.encoder.dropout=0.1", "model.decoder.dim=16", "model.decoder.embedding=8"),
    *("model.decoder.attention={kind: location, dim: 8, kernel: 5}", "trainer.save_minutes=1000"),
)
HELPS = ("model.decoder.sampling={rate: 0.5, full: 0.5}", "loss.guide={weight: 2.0, share: 0.6}")


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "las"
    assert train(tones, run, *SMALL, *HELPS, "trainer.epochs=2") == 0
    return run


@pytest.mark.slow
def test_it_decodes_with_every_decoder_that_it_serves(run, capsys):
    assert main(["decode", str(run), "--decoders", "all", "--search-errors", "off"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("ctc_greedy", "ctc_prefix_beam", "rescoring", "attention", "joint"))
    assert main(["decode", str(run), "--decoders", "joint", "decode.dtype=bfloat16"]) == 0


def test_a_step_can_be_replayed_with_what_was_sampled_and_how_much_was_guided(run):
    """The losses of the first step of the second epoch, where half of the labels are the model's own."""
    steps = len(rows(run, "train.loss")) // 2
    found = replay(Run(run), steps + 1, str(run / "checkpoints/epoch-001.ckpt"))
    assert found.loss == pytest.approx(rows(run, "train.loss")[steps], rel=1e-5)


def test_sampling_is_a_function_of_its_place(run):
    bundle = Bundle.load(run / "model.pt")
    optim = OptimConfig(schedule="constant", lr=1.0, warmup=0)
    mask = SpecAugment(SpecAugmentConfig())
    module = SpeechModule(bundle, loss=LossConfig(ctc_weight=0.5), optim=optim, mask=mask, mask_from=99, seed=1)
    module.total_steps = 10
    module.train()
    for part in module.modules():
        if hasattr(part, "p"):
            part.p = 0.0  # dropout draws from the same generator; what differs shall be the samples
    batch = batch_of(bundle, ["ab cab", "cab de"], [1.0, 1.0])

    def attention(step: int, rank: int = 0) -> torch.Tensor:
        return module.losses(batch, step=step, part=0, rank=rank)[0].attention

    assert torch.equal(attention(7), attention(7))
    assert not torch.equal(attention(7), attention(8))
    assert not torch.equal(attention(7), attention(7, rank=1))
    assert torch.equal(attention(0), attention(0, rank=1)), "the rate begins at 0"


def test_guidance_of_a_decoder_that_cannot_show_its_weights_is_refused(tones, tmp_path, capsys):
    assert train(tones, tmp_path / "run", "loss.guide.weight=1.0") == 2
    assert "loss.guide.weight needs a decoder of kind 'lstm'" in capsys.readouterr().err
    fixed = ("presets.model=fixed", "presets.decode=attention", "loss.ctc_weight=0.0")
    assert train(tones, tmp_path / "run", *fixed, "loss.guide.weight=1.0") == 2
    assert "loss.guide.weight: attention of kind 'fixed' looks at one frame by design" in capsys.readouterr().err


def test_rows_of_units_go_by_their_text_into_another_vocabulary(run):
    other = Bundle.load(run / "model.pt")
    torch.manual_seed(3)
    mine = Bundle.build(other.config, CharTokenizer("fedcba "), labels_per_frame=1.0)
    loaded = take_weights(mine, other, InitConfig())
    assert {"decoder.embedding.weight", "decoder.output.weight", "decoder.output.bias"} < set(loaded.by_unit)
    assert not loaded.fresh
    for name in ("decoder.embedding.weight", "decoder.output.weight"):
        rows = [bundle.model.state_dict()[name][bundle.tokenizer.encode("c")[0]] for bundle in (mine, other)]
        assert torch.equal(*rows)


def test_its_page_shows_one_head_of_one_layer(run, tones):
    assert "listener" in (run / "report.html").read_text(encoding="utf-8")
    samples, _ = soundfile.read(tones / "test/00.wav", dtype="float32")
    bundle = Bundle.load(run / "model.pt")
    bundle.model.eval()
    found = picture(bundle, samples, "ab cab")
    [shown] = found["attentions"]
    assert (shown["of"], len(shown["layers"]), shown["heads"], shown["rows"]) == ("decoder", 1, 1, 7)


def test_espnet_has_no_such_parts(run, tmp_path, capsys):
    assert main(["export", "espnet", str(run), "--to", str(tmp_path / "exported")]) == 2
    assert "model.encoder.kind is listener: ESPnet has no such encoder" in capsys.readouterr().err
