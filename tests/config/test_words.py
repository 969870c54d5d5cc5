"""Words of other toolkits lead to settings that exist; hints name what was meant, wherever it stands."""

import dataclasses

import pytest

from hybrid_asr.arguments import OTHER_NAMES, build_parser, commands_of
from hybrid_asr.config.compose import compose
from hybrid_asr.config.locate import presets, sections
from hybrid_asr.config.schema import ConfigError, all_paths, field_types
from hybrid_asr.config.words import (
    EXAMPLES,
    NO_SETTINGS,
    SECTIONS,
    WORDS,
    example,
    flag_hint,
    hint,
    settings_of,
    suggest,
    targets,
)
from hybrid_asr.run.config import OTHER_SETS, RunConfig

PATHS = list(dict.fromkeys(all_paths(RunConfig)))


@pytest.mark.parametrize(("words", "target"), WORDS.items())
def test_every_word_leads_to_a_setting(words, target):
    assert set(settings_of(target)) <= set(PATHS)
    leaves = {path.rpartition(".")[2] for path in PATHS if "." in path}
    assert leaves.isdisjoint(set(words.split()) - {"lm_weight"}), "a name of ours needs no entry"


def test_every_section_set_and_command_of_others_leads_to_one_of_ours():
    assert set(SECTIONS.values()) <= set(sections())
    assert set(OTHER_SETS.values()) <= {"train", "valid", "test"}
    assert set(OTHER_NAMES.values()) <= set(commands_of(build_parser()))
    for table in (WORDS, SECTIONS, NO_SETTINGS, OTHER_SETS, OTHER_NAMES):
        words = " ".join(table).split()
        assert len(set(words)) == len(words) and all(word == word.lower() for word in words)


def test_every_required_setting_has_an_example_that_names_it_or_a_preset_that_has_it():
    required = [
        f"{section}.{field.name}"
        for section, cls in field_types(RunConfig).items()
        if dataclasses.is_dataclass(cls)
        for field in dataclasses.fields(cls)
        if field.default is field.default_factory is dataclasses.MISSING
    ]
    assert {"data.train", "loss.ctc_weight", "optim.lr", "optim.warmup"} <= set(required)
    assert all(
        example(path) for path in (*required, "model.encoder.layers", "features", "tokenizer", "model", "decode")
    )
    for text in EXAMPLES.values():
        key, _, value = text.partition("=")
        if key.startswith("presets."):
            assert value in presets(key.removeprefix("presets."))
        else:
            assert key.partition(":")[0] in PATHS


HINTS = {
    "layers": "did you mean 'model.encoder.layers' or 'model.decoder.layers'?",
    "model.layers": "did you mean 'model.encoder.layers' or 'model.decoder.layers'?",
    "encoder": "did you mean 'model.encoder'?",
    "lr": "did you mean 'optim.lr'?",
    "trainer.lr": "did you mean 'optim.lr'?",
    "learning_rate": "here that is optim.lr",
    "optim.warmup_steps": "here that is optim.warmup, in updates",
    "data.batch_size": "here that is data.batch_seconds: seconds of audio, not utterances",
    "model.decoder.n_layers": "here that is model.decoder.layers",
    "n_layers": "here that is model.encoder.layers and model.decoder.layers",
    "encoder_conf": "did you mean 'model.encoder'?",
    "optim_conf": "did you mean 'optim'?",
    "scheduler_conf": "here that is optim.schedule",
    "specaug_conf": "here that is augment.spec",
    "frontend_conf": "here that is the section 'features'",
    "bpe_model": "here that is the section 'tokenizer'",
    "use_wandb": "here that is the section 'logger'",
    "exp_manager": "--folder DIR is the run's folder",
    "trainer.resume": "the same train command resumes by itself",
    "normalize": "here that is features.cmvn",
    "data.max_duration": "here that is data.batch_seconds: of a batch; the longest utterance is data.max_seconds",
    "MTLalpha": "here that is loss.ctc_weight",
    "num-workers": "here that is data.workers",
    "optim.lrr": "did you mean 'lr'?",
    "beeam": "did you mean 'decode.beam'?",
    "decode.beam": "known: kind, threshold",  # of another kind
    "model.encoder.type": "here that is model.encoder.kind",
    "resume": "the same train command resumes by itself",
}


@pytest.mark.parametrize(("path", "expected"), HINTS.items())
def test_the_hint_for_a_key(path, expected):
    here = {"decode": ["kind", "threshold"]}.get(path.rpartition(".")[0]) or [
        other.removeprefix(path.rpartition(".")[0]).removeprefix(".")
        for other in PATHS
        if other.rpartition(".")[0] == path.rpartition(".")[0]
    ]
    assert hint(path, here, PATHS) == expected


def test_a_flag_is_told_as_the_setting_that_it_means():
    assert flag_hint("--lr", "1e-3", PATHS).endswith("without dashes: optim.lr=1e-3")
    assert flag_hint("--decode.beam=40", "", PATHS).endswith("without dashes: decode.beam=40")
    assert flag_hint("--batch-size", "8", PATHS).endswith(
        "here that is data.batch_seconds: seconds of audio, not utterances"
    )
    assert flag_hint("--output-dir", "x", PATHS) == "--folder DIR is the run's folder"
    assert flag_hint("--zzz", "8", PATHS).endswith("without dashes: optim.lr=1e-3")


def test_what_begins_as_the_word_does_is_named_whole():
    assert (
        suggest("conformer", presets("model")) == "did you mean 'conformer_m', 'conformer_s' or 'conformer_s_espnet'?"
    )
    assert targets("Optimizer", SECTIONS) == "optim" and targets("zzz") is None


@pytest.mark.parametrize("key", ["layers", "num_layers"])
def test_a_hint_never_names_a_key_that_the_kind_lacks(key):
    """A listener has no `layers`; a user who followed such a hint met the next refusal."""
    path = f"model.encoder.{key}"
    assert hint(path, ["kind", "joins", "cells"], PATHS) == (
        "here that is model.encoder.joins: one layer for each of its numbers"
    )
    assert hint(path, ["kind", "cells"], PATHS) == "known: cells, kind"


def run_config(*overrides):
    return compose("spoken/las_hybrid", overrides).parse(RunConfig)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "encoder=transformer",
            "encoder: expected keys, got 'transformer'; choose it by presets.model=PRESET; did you mean",
        ),
        ("tokenizer=bpe", "choose it by presets.tokenizer=PRESET; did you mean 'bpe500'?"),
        ("optim=adam", "choose it by presets.optim=PRESET"),
        ("encoder_conf.num_blocks=4", "encoder_conf: unknown key; num_blocks: here that is model.encoder.layers"),
        ("model_conf.ctc_weight=0.3", "ctc_weight: did you mean 'loss.ctc_weight' or 'decode.ctc_weight'?"),
        ("exp_manager.exp_dir=x", "exp_dir: --folder DIR is the run's folder"),
    ],
)
def test_sections_of_other_toolkits_lead_to_ours(override, said):
    with pytest.raises(ConfigError) as caught:
        run_config(override)
    assert said in str(caught.value)
