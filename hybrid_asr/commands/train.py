"""`hybrid-asr train`: from a recipe to a run's folder with a model in it; repeated, it goes on where it stopped."""

import dataclasses
import shlex
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hybrid_asr.audio.augment import SpecAugment, describe
from hybrid_asr.audio.features import GlobalStatistics
from hybrid_asr.commands.training_data import dataset, least_table, planner, training_set
from hybrid_asr.commands.validation import Validation
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import remove_unfinished
from hybrid_asr.common.memory import keep_freed_memory
from hybrid_asr.config.compose import COMMAND_LINE, compose, digest
from hybrid_asr.config.schema import plain
from hybrid_asr.data.check import LabelCounts, check_training, label_counts
from hybrid_asr.data.loader import build_loader
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.sampler import Planner
from hybrid_asr.inference.encode import pad_audio, shortest_audio
from hybrid_asr.inference.presets import ALL
from hybrid_asr.inference.source import read_ahead
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.pages.epoch_heat_map import draw_epoch
from hybrid_asr.pages.run_page import refresh
from hybrid_asr.run.config import RunConfig, signature
from hybrid_asr.run.folder import Run, RunError, default_folder
from hybrid_asr.text.normalize import normalize
from hybrid_asr.text.tokenizer import restore_tokenizer, train_tokenizer
from hybrid_asr.training.attention_monitor import AttentionMonitor
from hybrid_asr.training.attention_pictures import AttentionPictures, Show
from hybrid_asr.training.checkpoint import Checkpoints
from hybrid_asr.training.csv_metrics import CsvMetrics
from hybrid_asr.training.datamodule import SpeechData
from hybrid_asr.training.epoch_end import EachEpoch
from hybrid_asr.training.initial_weights import freeze, take_weights
from hybrid_asr.training.module import SpeechModule, place_seed
from hybrid_asr.training.process import alone, is_first, say, terminable
from hybrid_asr.training.save_and_validate import Halted, Interrupted, SaveAndValidate
from hybrid_asr.training.status import State, StatusFile
from hybrid_asr.training.step_checks import build_progress
from hybrid_asr.training.trainer import build_loggers, build_trainer, check_devices, show_picture
from hybrid_asr.training.unreadable_audio import Unreadable

STATISTICS_BATCH = 16  # utterances that global statistics read at once


def train(recipe: str, overrides: Sequence[str] = (), *, folder: Path | None = None, fresh: bool = False) -> int:
    """Train `recipe` in `folder`; returns the exit status. Raises UserError on anything the user can mend."""
    composed = compose(recipe, overrides)
    cfg = composed.parse(RunConfig)
    for path in composed.dropped:
        if composed.sources.get(path) != COMMAND_LINE:
            say(f"left out: {path}, which the recipe wrote for another preset of {path.partition('.')[0]}")
    run = Run(folder or default_folder(composed.recipe or Path(recipe)))
    again = _command(recipe, overrides, folder)
    if is_first():
        run.refuse_foreign()
    with alone(run.folder), terminable(again):
        training = Training(cfg, run, fresh=fresh, again=again)
        try:
            return training.run_to_end()
        finally:  # of a training that failed or was stopped, too
            if is_first() and run.exists():
                refresh(run)


def _command(recipe: str, overrides: Sequence[str], folder: Path | None) -> str:
    """What the user typed, so that it can be typed again; without --fresh."""
    words = ["hybrid-asr", "train", recipe, *overrides, *(["--run", str(folder)] if folder else [])]
    return shlex.join(words)


class Training:
    """One training: what it reads, builds and writes, in the order in which it happens."""

    def __init__(self, cfg: RunConfig, run: Run, *, fresh: bool, again: str):
        self.cfg, self.run, self.again, self.fresh = cfg, run, again, fresh
        self.status: StatusFile | None = None  # from when on the folder is written to
        check_devices(cfg.trainer)
        self.checkpoints = Checkpoints(run.checkpoint_folder, cfg.trainer.average, cfg.trainer.average_count)
        self.train_set, self.left_out = training_set(cfg)
        self.valid_set = Manifest.read(Path(cfg.data.root) / cfg.data.valid, audio=cfg.data.audio)
        self.signature = digest([signature(cfg), self.train_set.digest, self.valid_set.digest])
        self.state = self._last_state()
        if cfg.trainer.threads:
            torch.set_num_threads(cfg.trainer.threads)
        keep_freed_memory()
        self.bundle, self.counts = self._bundle()
        self.planner = self._planner()

    def run_to_end(self) -> int:
        """Train, validate, save; then average. Returns 0, or 128 + the signal that stopped it."""
        try:
            return self._run()
        except OSError as error:  # a full disk, a quota, a folder that vanished or must not be written to
            place = error.filename or f"a file in {self.run.folder}"
            failure = RunError(f"{place}: {error.strerror or error}\n{self._way_on('mended')}")
            self._record("failed", str(failure))
            raise failure from error
        except UserError as error:
            if self.status is None:
                raise
            if isinstance(error, Halted) and not is_first():
                return 0  # all stop together; of an error Lightning would kill the first, which tells of it
            failure = RunError(f"{error}\n{self._way_on('mended')}")
            self._record("failed", str(failure))
            raise failure from error
        except (KeyboardInterrupt, SystemExit):
            self._record("stopped", f"stopped at once; {self._way_on('wanted')}")
            raise
        except BaseException as error:
            self._record("failed", f"{type(error).__name__}: {str(error)[:500]}")
            raise

    def _run(self) -> int:
        module, total = self._module(), self.cfg.trainer.epochs * self.planner.steps
        self._announce(module, total)
        if module.first_step < total:
            stopped = self._fit(module, total)
            if stopped:
                told = f"stopped after step {stopped.step}, everything is saved; go on with:\n  {self.again}"
                say(told)
                self._record("stopped", told)
                return 128 + stopped.signal_number if is_first() else 0  # of others an error: the first would be killed
        if is_first():
            self._finish()
            self._status(module, total).write("finished")
        return 0

    def _way_on(self, when: str) -> str:
        """What is left of the training, and how to go on."""
        step, folder = self.checkpoints.saved, self.checkpoints.folder
        if step is None or not self.checkpoints.can_go_on():
            return f"no state is saved in {folder}; when that is {when}, begin again with:\n  {self.again}"
        return (
            f"the last saved state is that of step {step} in {folder}; when that is {when}, go on with:\n  {self.again}"
        )

    def _record(self, state: State, message: str) -> None:
        if self.status is not None and is_first():
            self.status.write(state, message)

    def _status(self, module: SpeechModule, total: int) -> StatusFile:
        if self.status is None:
            self.status = StatusFile(self.run.status_file, total=total)
            self.status.step, self.status.saved = module.first_step, self.checkpoints.saved
            earlier = 0.0 if self.state is None else self.state["elapsed_s"]
            self.status.elapsed = lambda: earlier
        return self.status

    def _last_state(self) -> dict[str, Any] | None:
        """What an earlier process saved. A folder that holds anything else is refused."""
        if is_first():
            self.run.refuse_foreign()
        if self.fresh:
            return None
        if self.run.exists():
            self.run.refuse_other(self.cfg)
        state = self.checkpoints.load_last(warn=say)
        if state is not None and state["signature"] != self.signature:
            raise RunError(
                f"{self.run.folder}: the training data or the configuration have changed since step {state['step']}; "
                "give --run DIR for a folder of its own, or --fresh to start this one anew"
            )
        return state

    def _bundle(self) -> tuple[Bundle, LabelCounts]:
        """The model, fresh or as it was, and what is known of the training transcripts."""
        cfg, rules = self.cfg, self.cfg.text.rules
        if self.state is not None:
            tokenizer = restore_tokenizer(self.state["bundle"]["tokenizer"])
        else:
            tokenizer = train_tokenizer(
                cfg.tokenizer,
                (normalize(utterance.text, rules) for utterance in self.train_set),
                rules=rules,
                root=cfg.data.root,
            )
        torch.manual_seed(place_seed(cfg.seed, "weights"))
        bundle = Bundle.build(plain(cfg), tokenizer, labels_per_frame=0.0)
        counts = label_counts(self.train_set, tokenizer, rules)
        frames = np.array([self._encoder_frames(bundle, seconds) for seconds in self.train_set.durations])
        bundle = dataclasses.replace(bundle, labels_per_frame=float((counts.labels / np.maximum(frames, 1)).max()))
        if self.state is not None:
            bundle.load_weights(self.state["state_dict"])
        else:
            self._start(bundle)
        return bundle, counts

    @staticmethod
    def _encoder_frames(bundle: Bundle, seconds: float) -> int:
        return bundle.model.output_length(bundle.frontend.frames(round(seconds * bundle.frontend.rate)))

    def _start(self, bundle: Bundle) -> None:
        """What a fresh model may begin with: another run's weights, the training set's feature statistics."""
        cfg = self.cfg
        if cfg.init.from_:
            place = Path(cfg.init.from_)
            if not place.exists():
                raise UserError(
                    f"init.from: {place}: no such file; this training begins with its weights, so train that run first "
                    "(runs/CORPUS/NAME: hybrid-asr train CORPUS/NAME), or give another: init.from=RUN"
                )
            other = Run(place).bundle()[0] if place.is_dir() else Bundle.load(place)
            say(f"starting from {place}\n{take_weights(bundle, other, cfg.init).text()}")
        elif cfg.init.parts:
            say("init.parts: nothing is taken, since init.from is empty; all weights are fresh")
        if cfg.features.cmvn == "global":
            bundle.frontend.set_global(self._statistics(bundle))

    def _statistics(self, bundle: Bundle) -> GlobalStatistics:
        statistics = GlobalStatistics(bundle.frontend.width)
        indices = list(range(len(self.train_set)))
        batches = [indices[at : at + STATISTICS_BATCH] for at in range(0, len(indices), STATISTICS_BATCH)]
        for audio in read_ahead(self.train_set, batches, bundle.frontend.rate):
            for index, error in audio.unreadable.items():
                raise UserError(f"{self.train_set.where(index)}: {error}") from error
            statistics.add(bundle.frontend.raw(*pad_audio(audio.samples)))
        return statistics

    def _planner(self) -> Planner:
        """Check the sets, then plan the epochs."""
        cfg, bundle, counts = self.cfg, self.bundle, self.counts
        all_counts = {"train": counts, "valid": label_counts(self.valid_set, bundle.tokenizer, cfg.text.rules)}
        report = check_training(
            self.train_set,
            {"valid": self.valid_set},
            all_counts,
            least=least_table(cfg, bundle, counts),
            shortest=shortest_audio(bundle),
            speeds=cfg.augment.speeds,
            left_out=self.left_out,
            policy=cfg.data.check,
        )
        say(report.text())
        return planner(cfg, bundle, self.train_set, counts)

    def _module(self) -> SpeechModule:
        cfg = self.cfg
        module = SpeechModule(
            self.bundle,
            loss=cfg.loss,
            optim=cfg.optim,
            mask=SpecAugment(cfg.augment.spec),
            mask_from=cfg.augment.spec.from_epoch * self.planner.steps,
            seed=cfg.seed,
        )
        frozen = freeze(self.bundle.model, cfg.init.freeze)
        if frozen:
            say(f"frozen: {frozen:,} parameters ({', '.join(cfg.init.freeze)})")
        module.first_step = self.state["step"] if self.state is not None else 0
        module.total_steps = cfg.trainer.epochs * self.planner.steps
        return module

    def _announce(self, module: SpeechModule, total: int) -> None:
        size = sum(weight.numel() for weight in self.bundle.model.parameters())
        say(
            f"model: {size:,} parameters, {self.bundle.tokenizer.vocab_size} units; "
            f"augmentation: {describe(self.cfg.augment)}"
        )
        say(f"first epoch: {self.planner.plan(0).statistics.text()}")
        if module.first_step:
            say(f"continuing {self.run.folder} at step {module.first_step} of {total}")

    def _fit(self, module: SpeechModule, total: int) -> Interrupted | None:
        """Let Lightning run the updates that are left. From here on the folder is written to."""
        cfg = self.cfg
        first = module.first_step
        run_id = str((self.state or {}).get("run_id", uuid.uuid4().hex[:12]))
        loggers = build_loggers(cfg.logger, self.run.folder, first_step=first, run_id=run_id)
        status = self._open_folder(module, total)
        for logger in loggers:
            logger.log_hyperparams(plain(cfg))
        ranks = cfg.trainer.devices * cfg.trainer.nodes
        accumulate = self.planner.accumulation(ranks)
        module.accumulate = accumulate
        metrics = CsvMetrics(self.run.metrics_file)
        metrics.continue_from(first)
        progress = build_progress(
            cfg.trainer,
            checkpoints=self.checkpoints,
            status=status,
            written=metrics.rows,
            state=self.state,
            nonfinite_file=self.run.nonfinite_file,
            unreadable=Unreadable(int(cfg.data.unreadable_share * len(self.train_set)), say),
            steps_per_epoch=self.planner.steps,
        )
        watch = self._watch(status, partial(show_picture, loggers, "attention/leading_head"))
        validation = Validation(cfg, self.bundle, self.valid_set, self.planner, watch)
        keeper = SaveAndValidate(
            checkpoints=self.checkpoints,
            progress=progress,
            validate=validation,
            metric=validation.metric,
            every=cfg.trainer.valid_every,
            minutes=cfg.trainer.save_minutes,
            signature=self.signature,
            run_id=run_id,
            state=self.state,
        )
        trainer = build_trainer(
            cfg.trainer,
            updates=total - module.first_step,
            accumulate=accumulate,
            callbacks=[
                progress,
                keeper,
                EachEpoch(partial(refresh, self.run, depth="quick"), steps_per_epoch=self.planner.steps),
            ],
            loggers=[metrics, *loggers],
        )
        data = SpeechData(self.planner, self._loader(), first=first, total=total, accumulation=accumulate)
        try:
            trainer.fit(module, datamodule=data)
        except Interrupted as stop:
            return stop
        except SystemExit as end:  # what Lightning makes of a Ctrl-C outside of a step, or of the second one
            if isinstance(end.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from end
            raise
        say(progress.summary())
        return None

    def _open_folder(self, module: SpeechModule, total: int) -> StatusFile:
        """Leave in the run's folder what the training goes on from, and say that it runs."""
        if self.fresh and is_first():
            self.run.clear()
        if is_first():
            remove_unfinished(self.run.folder)
            remove_unfinished(self.run.checkpoint_folder)
            self.checkpoints.settle()
        status = self._status(module, total)
        self.run.checkpoint_folder.mkdir(parents=True, exist_ok=True)
        self.run.write_config(self.cfg)
        if is_first():
            status.running(module.first_step)
        return status

    def _loader(self) -> Callable[..., Any]:
        """What makes a loader of the planned batches."""
        cfg = self.cfg
        return partial(
            build_loader,
            dataset(cfg, self.bundle, self.train_set),
            workers=cfg.data.workers,
            prefetch=cfg.data.prefetch,
            pin_memory=cfg.trainer.accelerator != "cpu" and torch.cuda.is_available(),
            restarts=cfg.data.worker_restarts,
            warn=say,
        )

    def _watch(self, status: StatusFile, show: Show) -> AttentionMonitor:
        """What looks at attention with each validation, and goes on where an earlier process stopped."""
        steps = self.planner.steps
        pictures = AttentionPictures(self.run.attention_folder, draw=draw_epoch, show=show, steps_per_epoch=steps)
        watch = AttentionMonitor(
            self.cfg.trainer,
            self.cfg.model.decoder,
            self.run.attention_file,
            self.valid_set,
            pictures=pictures,
            alarms=status.alarms.append,
        )
        if is_first():
            watch.continue_from(0 if self.state is None else self.state["step"] // steps)
        return watch

    def _finish(self) -> None:
        """Average the chosen checkpoints into model.pt."""
        self.run.write_config(self.cfg)  # of a finished training, too: what decides no weight may be new
        self.bundle.load_weights(self.checkpoints.average_weights())
        self.bundle.save(self.run.model_file)
        chosen, best = self.checkpoints.chosen(), self.checkpoints.best()
        say(f"{self.run.model_file}: the mean of epochs {', '.join(str(entry.epoch) for entry in chosen)}")
        if best is not None and best.error is not None:
            say(f"best epoch: {best.epoch} with valid {self.cfg.metric.upper()} {best.error:.2%}")
        say(f"decode with: hybrid-asr decode {shlex.quote(str(self.run.folder))} --sets valid,test --decoders {ALL}")
