"""The model that a training begins with: fresh, with another run's weights, or as a saved state left it."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import torch

from hybrid_asr.audio.augment import SpecAugment
from hybrid_asr.audio.features import GlobalStatistics
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import did_you_mean, find_below
from hybrid_asr.config.schema import plain
from hybrid_asr.data.kept_arrays import Columns
from hybrid_asr.data.label_counts import LabelCounts, label_counts
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.rows import row_slices
from hybrid_asr.data.text_digest import text_digest, tokenizer_digest
from hybrid_asr.data.transcripts import spelled_texts
from hybrid_asr.inference.batching import STATISTICS_UTTERANCES, in_order
from hybrid_asr.inference.decoding_folder import file_digest
from hybrid_asr.inference.padding import pad_audio
from hybrid_asr.inference.source import read_ahead
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.nn.checkpointing import checkpoint_layers
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run
from hybrid_asr.text.phonemes import PhonemeTokenizerConfig
from hybrid_asr.text.tokenizer import Tokenizer, restore_tokenizer, train_tokenizer
from hybrid_asr.training.checkpoint import TrainingState
from hybrid_asr.training.initial_weights import freeze, take_weights
from hybrid_asr.training.messages import rank_zero_print
from hybrid_asr.training.module import SpeechModule, derive_seed


def build_bundle(cfg: RunConfig, train_set: Manifest, state: TrainingState | None) -> tuple[Bundle, LabelCounts]:
    """The model with its tokenizer, fresh or with the weights of `state`, and the label counts of the training set."""
    tokenizer = learn_tokenizer(cfg, train_set) if state is None else restore_tokenizer(state.bundle["tokenizer"])
    bundle = untrained_bundle(cfg, tokenizer)
    counts = label_counts(train_set, tokenizer, cfg.text)

    def most() -> Columns:
        return Columns({}, {"most": _labels_per_frame(bundle, counts.labels, train_set.durations)})

    decides = (tokenizer_digest(tokenizer), plain(cfg.features), plain(cfg.model))
    kept = train_set.kept("labels-a-frame", text_digest(cfg.text, *decides), most)
    bundle = dataclasses.replace(
        bundle,
        labels_per_frame=kept.facts["most"],
        labels_per_second=counts.rate,
    )
    if state is not None:
        try:
            bundle.refuse_misfits(state.state_dict)
        except ValueError as error:
            raise UserError(
                f"the saved state of step {state.step} does not fit the model: {error}; the model's code has changed "
                "since then, perhaps that of a plugin: go back to it, or give --folder DIR for a training of its own"
            ) from None
        bundle.load_weights(state.state_dict)
        return bundle, counts
    _initialize(cfg, bundle)
    if cfg.features.cmvn == "global":
        bundle.frontend.set_global(_feature_statistics(bundle, train_set))
    return bundle, counts


def build_module(cfg: RunConfig, bundle: Bundle, steps_per_epoch: int, *, first_step: int = 0) -> SpeechModule:
    """The module that makes the updates from `first_step` on; training and replay build it alike."""
    freeze(bundle.model, cfg.init.freeze)
    if cfg.trainer.checkpoint_activations and not checkpoint_layers(bundle.model):
        raise UserError("trainer.checkpoint_activations: this model has no stack named `layers`; leave the setting out")
    module = SpeechModule(
        bundle,
        loss=cfg.loss,
        optim=cfg.optim,
        mask=SpecAugment(cfg.augment.spec),
        mask_from=cfg.augment.spec.from_epoch * steps_per_epoch,
        seed=cfg.seed,
    )
    module.float16 = cfg.trainer.precision == "fp16"
    module.first_step = first_step
    module.total_steps = cfg.trainer.total_steps(steps_per_epoch)
    return module.train()


def untrained_bundle(cfg: RunConfig, tokenizer: Tokenizer) -> Bundle:
    """The model with fresh weights, without the statistics of a training set."""
    torch.manual_seed(derive_seed(cfg.seed, "weights"))
    return Bundle.build(plain(cfg), tokenizer, labels_per_frame=0.0)


def learn_tokenizer(cfg: RunConfig, train_set: Manifest) -> Tokenizer:
    """The tokenizer that the recipe asks for, learned from the training transcripts where it learns."""
    learned: list[Tokenizer] = []

    def make() -> Columns:
        texts = spelled_texts(train_set, cfg.text, what="learning the tokenizer")
        learned.append(train_tokenizer(cfg.tokenizer, texts, text=cfg.text, root=cfg.data.root))
        saved = io.BytesIO()
        torch.save(learned[0].state(), saved)
        return Columns({"state": np.frombuffer(saved.getvalue(), np.uint8)})

    kept = train_set.kept("tokenizer", text_digest(cfg.text, plain(cfg.tokenizer), _lexicon_digest(cfg)), make)
    state = io.BytesIO(kept["state"].tobytes())
    return learned[0] if learned else restore_tokenizer(torch.load(state, weights_only=True))


def _lexicon_digest(cfg: RunConfig) -> str:
    """Of the lexicon from which a tokenizer of phonemes learns; empty for others."""
    if not isinstance(cfg.tokenizer, PhonemeTokenizerConfig):
        return ""
    path = find_below(cfg.data.root, cfg.tokenizer.lexicon)
    return file_digest(path) if path.is_file() else ""


def _labels_per_frame(bundle: Bundle, labels: np.ndarray, durations: np.ndarray) -> float:
    """The most labels for an encoder frame, of all utterances; in pieces, since each process would need much memory."""
    most = 0.0
    known: dict[int, int] = {}
    for rows in row_slices(len(labels)):
        samples = np.rint(durations[rows] * bundle.frontend.rate).astype(np.int64)
        lengths, where = np.unique(samples, return_inverse=True)
        for length in lengths.tolist():
            if length not in known:
                known[length] = bundle.model.output_length(bundle.frontend.frames(length))
        frames = np.array([known[length] for length in lengths.tolist()])
        most = max(most, float((labels[rows] / np.maximum(frames[where], 1)).max()))
    return most


def _initialize(cfg: RunConfig, bundle: Bundle) -> None:
    """Take another run's weights, where `init.from` names one."""
    if cfg.init.from_:
        path = Path(cfg.init.from_)
        if not path.exists():
            raise UserError(
                f"init.from: {path}: no such file; this training begins with its weights, so train that run first "
                "(runs/CORPUS/NAME: hybrid-asr train CORPUS/NAME), or give another: init.from=RUN"
                f"{did_you_mean(path)}"
            )
        other = Run(path).bundle()[0] if path.is_dir() else Bundle.load(path)
        rank_zero_print(f"starting from {path}\n{take_weights(bundle, other, cfg.init).text()}")
    elif cfg.init.parts:
        rank_zero_print("init.parts: nothing is taken, since init.from is empty; all weights are fresh")


def _feature_statistics(bundle: Bundle, train_set: Manifest) -> GlobalStatistics:
    statistics = GlobalStatistics(bundle.frontend.width)
    batches = map(list, in_order(range(len(train_set)), STATISTICS_UTTERANCES))
    for audio in read_ahead(train_set, batches, bundle.frontend.rate):
        for index, error in audio.unreadable.items():
            raise UserError(f"{train_set.where(index)}: {error}") from error
        statistics.add(bundle.frontend.raw(*pad_audio(audio.samples)))
    return statistics
