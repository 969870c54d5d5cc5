"""Plugins: found by name, their options checked like ours, the contract tried; what breaks it is named."""

import pytest
import torch

from hybrid_asr.audio.features import Features
from hybrid_asr.config.schema import ConfigError, parse, plain
from hybrid_asr.models.bundle import Bundle, BundleError
from hybrid_asr.models.decoder import DecoderConfig, build_decoder
from hybrid_asr.models.encoder import EncoderConfig, build_encoder
from hybrid_asr.models.plugin import PluginConfig, PluginError
from hybrid_asr.text.characters import CharTokenizer
from tests.models import test_encoder, test_hybrid, test_transformer_decoder
from tests.models.tiny import EXAMPLE, FEATURES, SOS, VOCAB_SIZE


def encoder_of(name: str, **options: object):
    tree = {"kind": "plugin", "name": name, "options": options}
    return build_encoder(parse(EncoderConfig, tree, where="model.encoder"), FEATURES)


def decoder_of(name: str, **options: object):
    tree = {"kind": "plugin", "name": name, "options": options}
    return build_decoder(
        parse(DecoderConfig, tree, where="model.decoder"), memory_dim=6, vocab_size=VOCAB_SIZE, sos=SOS
    )


def test_a_plugin_is_built_from_its_options():
    encoder = encoder_of("good", dim=10, stride=5)
    assert (encoder.width, encoder.stride, encoder.output_length(11)) == (10, 5, 3)
    assert encoder(Features(torch.randn(1, 11, FEATURES), torch.tensor([11]))).states.shape == (1, 3, 10)
    assert decoder_of("good").training, "the trial leaves it as it was built"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimm": 8}, "model.encoder.options.dimm: unknown key; did you mean 'dim'?"),
        ({"dim": 0}, "model.encoder.options.dim: Input should be greater than 0, got 0"),
        ({"dim": "8"}, "model.encoder.options.dim: Input should be a valid integer"),
        ({"stride": 2.5}, "model.encoder.options.stride: Input should be a valid integer"),
    ],
)
def test_options_are_checked_like_ours(options, message):
    with pytest.raises(ConfigError) as raised:
        encoder_of("good", **options)
    assert message in str(raised.value)


def test_the_plugin_s_own_keys_are_checked_too():
    with pytest.raises(ConfigError, match=r"encoder\.nam: unknown key"):
        parse(EncoderConfig, {"kind": "plugin", "name": "good", "nam": "good"}, where="model.encoder")
    cfg = parse(EncoderConfig, {"kind": "plugin", "name": "good", "options": {"dim": 3}})
    assert cfg == PluginConfig(name="good", options={"dim": 3})
    assert parse(EncoderConfig, plain(cfg)) == cfg


ENCODERS = {
    "goood": "no installed package has the plugin 'goood' (entry points 'hybrid_asr.encoders'); did you mean 'good'?",
    "unheard": "known: absent, bare, capped,",
    "no_import": "cannot be imported: ModuleNotFoundError: No module named 'tests.models.no_such_module'",
    "absent": "cannot be imported: AttributeError:",
    "the_class": "is the class Good; let the entry point name an hybrid_asr.models.plugin.EncoderPlugin",
    "loose": "would let misspelled options pass; decorate a class with hybrid_asr.config.schema.config",
    "no_module": "build gives a str; it must give a torch.nn.Module",
    "unbuildable": "cannot be built: ZeroDivisionError: nothing by nothing",
    "no_width": "it has no 'width'",
    "width_is_text": "'width' is 'six'; it must be a whole number of 1 or more",
    "floating": "output_length(0) is 0.0; it must be a whole number",
    "too_long": "output_length is 1 for 0 frames",
    "capped": "'stride' is 3, but output_length is 50 for 148 feature frames and 50 for 3 more, not 51",
    "other_stride": "'stride' is 3, but output_length is 1 for 1 feature frames and 1 for 3 more, not 2",
    "leaky": "so that results depend on an utterance's neighbors; mask what follows the real frames",
    "narrow": "states are (5, 7, 5) and frames (5,)",
    "bare": "it gives a Tensor; let it give hybrid_asr.models.encoded.Encoded",
    "short": "of 400 feature frames come 50 encoder frames, output_length(400) says 134",
    "not_a_number": "is not finite",
    "raising": "fails on random features: IndexError: a mistake of its own",
}


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_that_breaks_the_contract_is_refused_by_name(name):
    with pytest.raises(PluginError) as raised:
        encoder_of(name)
    assert ENCODERS[name] in str(raised.value)
    if name not in ("goood", "unheard"):
        assert str(raised.value).startswith(f"model.encoder: the plugin '{name}' of tests-of-hybrid-asr 0.1")


def test_an_output_length_that_is_not_what_comes_out_is_detected(monkeypatch):
    good = type(encoder_of("good"))
    monkeypatch.setattr(good, "output_length", lambda _, frames: frames // 3)  # forward counts the rest
    with pytest.raises(PluginError, match=r"of 22 feature frames come 8 encoder frames, output_length\(22\) says 7"):
        encoder_of("good")


DECODERS = {
    "an_encoder": "is a EncoderPlugin; let the entry point name an hybrid_asr.models.plugin.DecoderPlugin",
    "no_steps": "it lacks step, reorder, keep, without which nothing can be searched",
    "steps_at_place_zero": "step 2 differs from the whole text at once",
    "not_reordered": "step 3 after reorder differs",
    "no_weights": "step with weights='all' gives the attention None; for 4 hypotheses",
    "sums_to_seven": "whose sums lie between 7 and 7; they must be 0 or more, sum to 1 over the real frames",
    "no_end": "its logits are (4, 3, 9); they must be (4, 4, 9)",
    "looks_at_padding": "4 encoder frames changes by up to",
}


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_that_breaks_the_contract_is_refused_by_name(name):
    with pytest.raises(PluginError) as raised:
        decoder_of(name)
    assert DECODERS[name] in str(raised.value)
    assert str(raised.value).startswith(f"model.decoder: the plugin '{name}' of tests-of-hybrid-asr 0.1")


def test_on_the_meta_device_nothing_is_tried_but_attributes_are_looked_at():
    with torch.device("meta"):
        assert encoder_of("leaky").project.weight.is_meta
        with pytest.raises(PluginError, match="it has no 'width'"):
            encoder_of("no_width")
        with pytest.raises(PluginError, match="it lacks step"):
            decoder_of("no_steps")


def test_the_trial_draws_nothing_from_torch_s_generator():
    torch.manual_seed(0)
    encoder_of("good")
    decoder_of("good")
    tried = torch.rand(3)
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        for place in ("encoder.check_encoder", "decoder.check_decoder"):
            patch.setattr(f"hybrid_asr.models.{place}", lambda *_, **__: None)
        encoder_of("good")
        decoder_of("good")
    assert torch.equal(torch.rand(3), tried)


def bundle() -> Bundle:
    model = {"encoder": plain(EXAMPLE), "decoder": plain(EXAMPLE)}
    sections = {"features": {"kind": "fbank", "rate": 8000, "bins": 11}, "model": model, "loss": {"ctc_weight": 0.5}}
    return Bundle.build(sections | {"text": {"rules": "basic@1"}}, CharTokenizer.train(["ab"]), 0.5)


def test_a_model_is_loaded_where_its_plugin_is_installed_and_refused_where_not(tmp_path, monkeypatch):
    made = bundle()
    made.save(tmp_path / "model.pt")
    weights = Bundle.load(tmp_path / "model.pt").weights()
    assert all(torch.equal(value, weights[name]) for name, value in made.weights().items())
    monkeypatch.setattr("hybrid_asr.models.plugin.entry_points", lambda group: [])
    with pytest.raises(BundleError) as raised:
        Bundle.load(tmp_path / "model.pt")
    message = str(raised.value)
    assert message.startswith(
        f"{tmp_path}/model.pt: the model needs a plugin: model.encoder.name: no installed package"
    )
    assert "no plugin is installed here; install its package into this environment with pip" in message


def test_a_model_whose_plugin_has_other_sizes_now_is_refused(tmp_path):
    made = bundle()
    made.config["model"]["encoder"]["options"]["dim"] += 1
    made.save(tmp_path / "model.pt")
    with pytest.raises(BundleError, match="size mismatch for encoder"):
        Bundle.load(tmp_path / "model.pt")


@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_the_example_s_parts_keep_the_laws_of_ours(mode):
    test_encoder.test_output_length_is_the_number_of_real_output_frames(EXAMPLE)
    test_encoder.test_neighbors_and_padding_do_not_change_an_utterance(EXAMPLE, mode, torch.float64, 1e-9)
    test_encoder.test_more_padding_than_the_longest_needs_changes_nothing(EXAMPLE)
    test_hybrid.test_neighbors_change_neither_posteriors_nor_logits_nor_losses_nor_gradients(EXAMPLE, EXAMPLE, mode)


def test_the_example_s_decoder_says_step_by_step_what_it_says_at_once():
    test_transformer_decoder.test_step_by_step_equals_all_at_once(EXAMPLE)
    test_transformer_decoder.test_copied_dropped_and_reordered_hypotheses_equal_recomputation(EXAMPLE)
