"""Hints for keys that do not exist: the word of another toolkit, the right key in another section, the nearest name."""

import difflib
from collections.abc import Iterable

# What users of ESPnet, SpeechBrain, WeNet, icefall and NeMo write -> our settings, and what to mind.
WORDS: dict[str, str] = {
    "learning_rate": "optim.lr",
    "max_lr base_lr peak_lr lr_adam": "optim.lr",
    "warmup_steps warmup_epochs n_warmup_steps": "optim.warmup, in updates",
    "scheduler lr_scheduler optimizer": "optim.schedule",
    "grad_clip gradient_clip_val max_grad_norm clip_grad": "optim.clip",
    "l2 decay": "optim.weight_decay",
    "batch_size batch_bins batch_frames batch bs": "data.batch_seconds: seconds of audio, not utterances",
    "max_duration": "data.batch_seconds: of a batch; the longest utterance is data.max_seconds",
    "min_duration": "data.min_seconds",
    "accum_grad grad_accum accumulate_grad_batches accumulation": "data.device_seconds: what is more is accumulated",
    "max_epochs max_epoch num_epochs number_of_epochs n_epochs epoch": "trainer.epochs",
    "max_steps max_step num_steps max_iterations max_iter max_updates": "trainer.steps",
    "gpus ngpu num_gpus n_gpus world_size": "trainer.devices",
    "device": "trainer.accelerator",
    "num_workers n_workers": "data.workers",
    "fp16 bf16 amp use_amp use_fp16 mixed_precision": "trainer.precision: bf16",
    "log_interval print_every": "trainer.log_every",
    "val_interval check_val_every_n_epoch": "trainer.valid_every",
    "avg average_checkpoints keep_nbest_models average_num": "trainer.average_count",
    "patience early_stopping": "trainer.average: no training stops early, 'best' averages the best epochs",
    "ctc mtlalpha ctc_conf alpha ctc_loss_weight": "loss.ctc_weight",
    "lsm_weight label_smoothing": "loss.smoothing",
    "beam_size num_beams beam_width": "decode.beam",
    "penalty length_penalty": "decode.length_bonus",
    "lm_weight ngram_weight": "decode.lm_weight",
    "lm ngram kenlm arpa_file": "decode.arpa",
    "vocab_size nbpe n_tokens bpe_size bpe_nbpe": "tokenizer.size",
    "token_type bpemode": "tokenizer.kind",
    "sample_rate sampling_rate fs sr samplerate": "features.rate",
    "n_mels num_mel_bins feat_dim n_feats num_bins": "features.bins",
    "n_fft": "features.fft",
    "win_length frame_length": "features.window_ms",
    "hop_length frame_shift": "features.shift_ms",
    "specaug spec_augment spec_aug": "augment.spec",
    "speed_perturb speed_perturbation": "augment.speeds",
    "d_model output_size hidden_size adim encoder_dim": "model.encoder.dim",
    "num_blocks num_layers n_layers": "model.encoder.layers and model.decoder.layers",
    "elayers num_encoder_layers": "model.encoder.layers",
    "dlayers num_decoder_layers": "model.decoder.layers",
    "nhead attention_heads num_heads aheads": "model.encoder.heads",
    "linear_units d_ffn eunits dim_feedforward": "model.encoder.feed_forward",
    "cnn_module_kernel kernel_size conv_kernel_size": "model.encoder.kernel",
    "dropout_rate dropout_p": "model.encoder.dropout and model.decoder.dropout",
    "pretrained init_param finetune resume_from checkpoint init_from_nemo_model": "init.from",
    "freeze_param": "init.freeze",
    "text_cleaner cleaner lowercase lower_case": "text.rules",
    "normalize global_cmvn cmvn_file utterance_mvn": "features.cmvn",
    "train_manifest train_ds train_data train_csv": "data.train",
    "dev valid_data dev_data validation_ds valid_csv": "data.valid",
    "test_data test_ds test_csv": "data.test",
    "random_seed seed_everything": "seed",
}
# Where a kind of encoder lacks a setting: the one that it has in its place.
IN_PLACE: dict[str, str] = {"model.encoder.layers": "model.encoder.joins: one layer for each of its numbers"}
KIND = ("type", "name", "class", "_target_", "arch")  # what others call our `kind`
# What is no setting here.
NO_SETTINGS = {
    "resume resume_training resume_if_exists resume_from_checkpoint ckpt_path": (
        "the same train command resumes by itself"
    ),
    "exp_manager exp_dir expdir exp_name output_dir output_folder outdir save_dir": "--folder DIR is the run's folder",
}
# Sections of presets, and what others call them.
SECTIONS = {
    "encoder decoder arch architecture network": "model",
    "optimizer scheduler lr_scheduler": "optim",
    "frontend feats fbank preprocessor": "features",
    "token tokens bpe tokenization token_list bpe_model": "tokenizer",
    "training train": "trainer",
    "decoding search inference": "decode",
    "logging use_wandb wandb tensorboard": "logger",
}
# What a required setting looks like; that of the nearest section stands for what it does not name.
EXAMPLES = {
    "data.train": "data.train=mine/train.jsonl",
    "data.valid": "data.valid=mine/valid.jsonl",
    "data.batch_seconds": "data.batch_seconds=25",
    "data": "data: {train: mine/train.jsonl, valid: mine/valid.jsonl, batch_seconds: 25}",
    "loss": "loss.ctc_weight=0.3",
    "optim.lr": "optim.lr=1e-3",
    "optim": "presets.optim=noam",
    "trainer.epochs": "trainer.epochs=50",
    "trainer": "presets.trainer=auto",
    "features": "presets.features=fbank80",
    "tokenizer.size": "tokenizer.size=500",
    "tokenizer.lexicon": "tokenizer.lexicon=an4/lexicon.txt",
    "tokenizer": "presets.tokenizer=char",
    "model": "presets.model=conformer_s",
    "decode": "presets.decode=joint",
}


def targets(word: str, table: dict[str, str] = WORDS) -> str | None:
    """Our setting for another toolkit's word, with what to mind; None for a word that is not in the table."""
    plain = word.lower().replace("-", "_")
    return next((target for words, target in table.items() if plain in words.split()), None)


def settings_of(target: str) -> list[str]:
    """The paths of a table's target, without what to mind."""
    return target.partition(":")[0].partition(",")[0].split(" and ")


def hint(path: str, here: Iterable[str], everywhere: Iterable[str]) -> str:
    """A closing hint for the unknown key at `path`; `here` are the keys of its section, `everywhere` all paths.

    Keys of this name elsewhere, all of them; the word of another toolkit; its section; the nearest name here; the
    nearest elsewhere.
    """
    section, _, key = path.rpartition(".")
    key = key.removesuffix("_conf")  # of ESPnet and WeNet
    paths = list(everywhere)
    names = list(here)
    if elsewhere := targets(key, NO_SETTINGS):
        return elsewhere
    if key in KIND and "kind" in names:
        return f"here that is {section}.kind" if section else "here that is kind"
    if path in paths:  # a key of another kind
        return _of_another_kind(path, names)
    same = [other for other in paths if other.rpartition(".")[2] == key]
    same = [other for other in same if section and other.startswith(f"{section}.")] or same
    target = targets(key)
    if same:
        return f"did you mean {one_of(same)}?"
    if target and set(settings_of(target)) <= set(paths):
        several = settings_of(target) if " and " in target else []
        within = [setting for setting in several if section and setting.startswith(f"{section}.")]
        target = within[0] if len(within) == 1 else target
        above, _, own = (setting := settings_of(target)[0]).rpartition(".")
        if above == section and own not in names:
            return _of_another_kind(setting, names)
        return f"here that is {target}"
    if not section and (meant := targets(key, SECTIONS)):
        return f"here that is the section '{meant}'"
    if not difflib.get_close_matches(key, names, n=1, cutoff=0.5):
        leaves = {other.rpartition(".")[2] for other in paths}
        near = difflib.get_close_matches(key, sorted(leaves), n=1, cutoff=0.75)
        if near:
            return f"did you mean {one_of([other for other in paths if other.rpartition('.')[2] == near[0]])}?"
    return suggest(key, names)


def _of_another_kind(path: str, here: list[str]) -> str:
    """A hint for a setting that the chosen kind, whose keys are `here`, does not have."""
    instead = IN_PLACE.get(path, "")
    if instead and settings_of(instead)[0].rpartition(".")[2] in here:
        return f"here that is {instead}"
    return suggest(path.rpartition(".")[2], here)


def hints_below(section: str, keys: Iterable[str], here: Iterable[str], everywhere: Iterable[str]) -> str:
    """Hints for the `keys` of a section that is not `here`, such as ESPnet's `encoder_conf`.

    Empty where none of them is known, and where the section is one of ours, mistyped.
    """
    if difflib.get_close_matches(section, list(here), n=1, cutoff=0.75):
        return ""
    paths = list(everywhere)
    leaves = {path.rpartition(".")[2] for path in paths}
    known = [key for key in keys if key in leaves or targets(key) or targets(key, NO_SETTINGS)]
    return "; ".join(f"{key}: {hint(key, [], paths)}" for key in known)


def flag_hint(flag: str, value: str, everywhere: Iterable[str]) -> str:
    """What to write in place of `--KEY VALUE`; `everywhere` are the paths of all settings."""
    name, _, own = flag.lstrip("-").partition("=")
    key, value = name.replace("-", "_"), own or value or "VALUE"
    paths = list(everywhere)
    named = [path for path in paths if key in (path, path.rpartition(".")[2])]
    target = targets(key)
    if not named and target:
        return f"settings are written key=value, without dashes; here that is {target}"
    if not named and (elsewhere := targets(key, NO_SETTINGS)):
        return elsewhere
    written = " or ".join(f"{path}={value}" for path in named) or "optim.lr=1e-3"
    return f"settings are written key=value, without dashes: {written}"


def suggest(word: str, known: Iterable[str]) -> str:
    """A closing hint: the known words that begin with this one, else the nearest where one is near, else all."""
    names = sorted(known)
    longer = [name for name in names if word and name.lower().startswith(word.lower())]
    near = longer or difflib.get_close_matches(word, names, n=1, cutoff=0.55)
    if near:
        return f"did you mean {one_of(near)}?"
    return f"known: {', '.join(names)}" if names else "nothing is known here"


def example(path: str) -> str:
    """`; for example KEY=VALUE` for a required setting, empty where none is known."""
    while path and path not in EXAMPLES:
        path = path.rpartition(".")[0]
    return f"; for example {EXAMPLES[path]}" if path else ""


def one_of(names: list[str]) -> str:
    """'a', 'b' or 'c'."""
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
