"""The configuration of an ESPnet2 model: the settings that decide what it computes, and their names in hybrid-asr.

Defaults are those of ESPnet 202511: a `config.yaml` holds only those settings of a model's parts that its user wrote.
"""

import re
from typing import Any, NamedTuple

from hybrid_asr.convert.section import Section
from hybrid_asr.text.token_list import Joins

ACTIVATIONS = {"swish": "silu", "relu": "relu", "tanh": "tanh", "hardtanh": "hardtanh", "selu": "selu"}
WINDOWS = {"hann": "hann", "hamming": "hamming", "blackman": "blackman"}
INPUTS = {"conv2d": "conv", "linear": "linear"}
JOINS: dict[str, Joins] = {"char": "characters", "word": "words", "bpe": "pieces"}
EPS = 1e-12  # of ESPnet's LayerNorm
_RETRAIN = "train the model with that"
_NEWER = "if it acts in training only, remove the key from the file; else the model cannot be imported"

# Top-level settings for data, machines, schedules, files and logs, which do not affect a trained model.
_HOUSEKEEPING = re.findall(
    r"\w+",
    """
    config print_config log_level dry_run iterator_type valid_iterator_type output_dir ngpu seed num_workers
    num_att_plot dist_backend dist_init_method dist_world_size dist_rank local_rank dist_master_addr
    dist_master_port dist_launcher multiprocessing_distributed unused_parameters sharded_ddp use_deepspeed
    deepspeed_config gradient_as_bucket_view ddp_comm_hook cudnn_enabled cudnn_benchmark cudnn_deterministic
    use_tf32 collect_stats write_collected_feats max_epoch patience val_scheduler_criterion early_stopping_criterion
    best_model_criterion keep_nbest_models nbest_averaging_interval grad_clip grad_clip_type grad_noise accum_grad
    no_forward_run resume train_dtype use_amp log_interval use_matplotlib use_tensorboard
    create_graph_in_tensorboard use_wandb wandb_project wandb_id wandb_entity wandb_name wandb_model_log_interval
    detect_anomaly adapter save_strategy adapter_conf pretrain_path init_param ignore_init_mismatch freeze_param
    num_iters_per_epoch batch_size valid_batch_size batch_bins valid_batch_bins category_sample_size
    upsampling_factor category_upsampling_factor dataset_upsampling_factor dataset_scaling_factor max_batch_size
    min_batch_size train_shape_file valid_shape_file batch_type fold_length valid_batch_type sort_in_batch
    shuffle_within_batch sort_batch multiple_iterator chunk_length chunk_shift_ratio num_cache_chunks
    chunk_excluded_key_prefixes chunk_default_fs chunk_max_abs_length chunk_discard_short_samples
    train_data_path_and_name_and_type valid_data_path_and_name_and_type multi_task_dataset allow_variable_data_keys
    max_cache_size max_cache_fd allow_multi_rates valid_max_cache_size exclude_weight_decay
    exclude_weight_decay_conf optim optim_conf scheduler scheduler_conf optim2 optim2_conf scheduler2
    scheduler2_conf init use_preprocessor drop_last_iter distributed version required non_linguistic_symbols cleaner
    g2p rir_scp rir_apply_prob noise_scp noise_apply_prob noise_db_range short_noise_thres specaug specaug_conf
    preprocessor preprocessor_conf preencoder_conf postencoder_conf joint_net_conf
    """,
)


class Espnet(NamedTuple):
    """A translated configuration: sections of a run, the tokens and how they are joined, and what is not supported."""

    sections: dict[str, Any]
    tokens: list[Any]
    joins: Joins
    bpemodel: str | None
    problems: list[str]


def read_espnet(tree: dict[str, Any]) -> Espnet:
    """Translate a whole configuration; `problems` lists what is not supported, each with key, value and remedy."""
    problems: list[str] = []
    root = Section("", tree, problems)
    root.training_only(*_HOUSEKEEPING)
    root.without(["use_adapter", "aux_ctc_tasks", "use_lang_prompt", "use_nlp_prompt"], "import a model without it")
    root.without(["speech_volume_normalize"], "bring the audio to that volume before it is recognized, and set null")
    root.without(["preencoder", "postencoder", "input_size"], "import a model whose features are computed from audio")
    root.require("model", "espnet", "espnet", _RETRAIN)
    _read_ctc_conf(root.section("ctc_conf"))
    ctc_weight = _read_model_conf(root.section("model_conf"))
    encoder = _read_encoder(root)
    sections = {
        "features": _read_front_end(root) | _read_normalization(root),
        "model": {"encoder": encoder, "decoder": _read_decoder(root, encoder["dim"], ctc_weight)},
        "loss": {"ctc_weight": ctc_weight},
        "text": {"rules": "none@1"},
    }
    joins = root.choice("token_type", "bpe", JOINS, "choose a model with one of these")
    sections["tokenizer"] = {"kind": "token_list", "joins": joins}
    tokens = root.value("token_list")
    if not isinstance(tokens, list):
        root.refuse("token_list", "expected the list of tokens, as ESPnet writes it when it trains")
    bpemodel = root.value("bpemodel")
    root.close(_NEWER)
    return Espnet(sections, tokens if isinstance(tokens, list) else [], joins, bpemodel, problems)


def _read_front_end(root: Section) -> dict[str, Any]:
    """Section `features` but for the normalization."""
    root.require("frontend", "default", "default", "import a model with ESPnet's default front end")
    conf = root.section("frontend_conf")
    fft = conf.count("n_fft", 512, least=16)
    settings = {
        "kind": "espnet_logmel",
        "rate": _rate(conf),
        "fft": fft,
        "window": conf.count("win_length", 0, least=0) % fft,  # as long as the FFT is 0 here
        "hop": conf.count("hop_length", 128),
        "window_shape": conf.choice("window", "hann", WINDOWS, _RETRAIN),
        "edges": conf.choice("center", True, {True: "mirrored", False: "none"}, _RETRAIN),
        "mel_scale": conf.choice("htk", False, {False: "slaney", True: "htk"}, _RETRAIN),
        "bins": conf.count("n_mels", 80, least=3),
        "low_hz": float(conf.number("fmin", 0)),
        "high_hz": float(conf.number("fmax", 0)),
    }
    conf.require("normalized", False, False, _RETRAIN)
    conf.require("onesided", True, True, _RETRAIN)
    conf.require("apply_stft", True, True, _RETRAIN)
    channels = conf.section("frontend_conf")
    channels.without(["use_wpe", "use_beamformer"], "import a model for one channel")
    channels.training_only(*channels.tree)  # sizes of parts that are switched off
    conf.close(_NEWER)
    return settings


def _rate(conf: Section) -> int:
    """Samples per second: 16000, "16000" or "16k"."""
    value = conf.value("fs", 16000)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(k?)(?:hz)?", str(value).strip().lower())
    if isinstance(value, bool) or match is None:
        conf.refuse("fs", "expected samples per second, such as 16000 or 16k")
        return 16000
    return round(float(match[1]) * (1000 if match[2] else 1))


def _read_normalization(root: Section) -> dict[str, Any]:
    known = {"global_mvn": "global", "utterance_mvn": "utterance", None: "none"}
    kind = root.choice("normalize", "utterance_mvn", known, _RETRAIN)
    conf = root.section("normalize_conf")
    conf.training_only("stats_file")  # the weights hold mean and deviation
    conf.number("eps", 1e-20)
    if kind != "none":
        conf.require("norm_means", True, True, _RETRAIN)
    variance = conf.flag("norm_vars", kind == "global")
    conf.close(_NEWER)
    return {"cmvn": kind, "cmvn_scale": "mean_and_variance" if variance else "mean"}


def _read_encoder(root: Section) -> dict[str, Any]:
    kind = root.choice("encoder", "rnn", {"conformer": "conformer", "transformer": "transformer"}, _RETRAIN)
    conf = root.section("encoder_conf")
    dim = conf.count("output_size", 256)
    settings: dict[str, Any] = {
        "kind": kind,
        "dim": dim,
        "layers": conf.count("num_blocks", 6),
        "heads": conf.count("attention_heads", 4),
        "feed_forward": conf.count("linear_units", 2048),
        "channels": dim,
        "dropout": float(conf.number("dropout_rate", 0.1)),
        "attention_dropout": float(conf.number("attention_dropout_rate", 0.0)),
        "input": conf.choice("input_layer", "conv2d", INPUTS, _RETRAIN),
        "norm_eps": EPS,
    }
    _require_plain_blocks(conf)
    conf.without(["interctc_layer_idx", "interctc_use_conditioning", "ctc_trim"], "train the model without it")
    conf.training_only("positional_dropout_rate", "stochastic_depth_rate", "layer_drop_rate", "padding_idx")
    if kind == "transformer":
        conf.require("pos_enc_layer_type", "abs_pos", "abs_pos", _RETRAIN)
    else:
        settings |= _read_conformer(conf)
    conf.close(_NEWER)
    return settings


def _read_conformer(conf: Section) -> dict[str, Any]:
    conf.require("rel_pos_type", "legacy", "latest", _RETRAIN)
    conf.require("pos_enc_layer_type", "rel_pos", "rel_pos", _RETRAIN)
    conf.require("selfattention_layer_type", "rel_selfattn", "rel_selfattn", _RETRAIN)
    conf.require("macaron_style", False, True, _RETRAIN)
    conf.require("use_cnn_module", True, True, _RETRAIN)
    conf.require("zero_triu", False, False, _RETRAIN)
    conf.training_only("max_pos_emb_len")  # the table grows with the input
    return {
        "kernel": conf.count("cnn_module_kernel", 31),
        "positions": "relative",
        "norm": "batch",
        "final_norm": "layer",
        "activation": conf.choice("activation_type", "swish", ACTIVATIONS, _RETRAIN),
    }


def _require_plain_blocks(conf: Section) -> None:
    """Refuse settings of encoder or decoder blocks that hybrid-asr does not have."""
    conf.require("normalize_before", True, True, _RETRAIN)
    conf.require("concat_after", False, False, _RETRAIN)
    conf.require("positionwise_layer_type", "linear", "linear", _RETRAIN)
    conf.require("qk_norm", False, False, _RETRAIN)
    conf.training_only("positionwise_conv_kernel_size", "use_flash_attn")


def _read_decoder(root: Section, dim: int, ctc_weight: float) -> dict[str, Any]:
    """Section `model.decoder`. For a model with CTC alone it is that of a minimal decoder, which is not built."""
    conf = root.section("decoder_conf")
    if ctc_weight == 1.0:
        root.value("decoder")
        return {"kind": "transformer", "dim": dim, "layers": 1, "heads": 1, "feed_forward": dim, "norm_eps": EPS}
    root.require("decoder", "rnn", "transformer", _RETRAIN)
    settings = {
        "kind": "transformer",
        "dim": dim,
        "layers": conf.count("num_blocks", 6),
        "heads": conf.count("attention_heads", 4),
        "feed_forward": conf.count("linear_units", 2048),
        "dropout": float(conf.number("dropout_rate", 0.1)),
        "attention_dropout": float(conf.number("self_attention_dropout_rate", 0.0)),
        "norm_eps": EPS,
    }
    _require_plain_blocks(conf)
    conf.require("input_layer", "embed", "embed", _RETRAIN)
    conf.require("use_output_layer", True, True, _RETRAIN)
    conf.training_only("positional_dropout_rate", "src_attention_dropout_rate", "layer_drop_rate")
    conf.training_only("gradient_checkpoint_layers")
    conf.close(_NEWER)
    return settings


def _read_ctc_conf(conf: Section) -> None:
    """Mark all keys as read: none of them affects a trained model."""
    conf.training_only("dropout_rate", "ctc_type", "reduce", "ignore_nan_grad", "zero_infinity", "brctc_risk_strategy")
    conf.training_only("brctc_group_strategy", "brctc_risk_factor")
    conf.close(_NEWER)


def _read_model_conf(conf: Section) -> float:
    """The weight of CTC in training, which decides which heads the model has."""
    ctc_weight = conf.number("ctc_weight", 0.5)
    if ctc_weight > 1:
        conf.refuse("ctc_weight", "expected a number from 0 to 1")
        ctc_weight = 0.5
    for key, symbol in {"sym_blank": "<blank>", "sym_sos": "<sos/eos>", "sym_eos": "<sos/eos>"}.items():
        conf.require(key, symbol, symbol, _RETRAIN)
    conf.require("sym_space", "<space>", "<space>", _RETRAIN)
    conf.without(["autocast_frontend", "transducer_multi_blank_durations", "aux_ctc"], "train the model without it")
    conf.require("lang_token_id", -1, -1, "import a model of one language")
    conf.training_only(
        "interctc_weight", "ignore_id", "lsm_weight", "length_normalized_loss", "report_cer", "report_wer"
    )
    conf.training_only("extract_feats_in_collect_stats", "transducer_multi_blank_sigma")
    conf.close(_NEWER)
    return float(ctc_weight)
