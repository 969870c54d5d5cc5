"""The updates of a training: Lightning's trainer with our callbacks, from the first step that is left to the last."""

import uuid
from collections.abc import Callable
from functools import partial

import torch
from torch.utils.data import DataLoader

from hybrid_asr.commands.training_data import build_dataset
from hybrid_asr.commands.training_setup import TrainingSetup
from hybrid_asr.commands.validation import Validation
from hybrid_asr.common.files import remove_unfinished, write_text
from hybrid_asr.config.schema import plain
from hybrid_asr.data.loader import build_loader
from hybrid_asr.data.sampler import PlanSampler
from hybrid_asr.pages.epoch_heat_map import draw_epoch
from hybrid_asr.pages.run_page import refresh
from hybrid_asr.training.attention_monitor import AttentionMonitor
from hybrid_asr.training.attention_pictures import AttentionPictures, Show
from hybrid_asr.training.csv_metrics import CsvMetrics
from hybrid_asr.training.datamodule import SpeechData
from hybrid_asr.training.doubtful_audio import Doubtful
from hybrid_asr.training.launch_environment import is_rank_zero
from hybrid_asr.training.loggers import build_loggers, show_picture
from hybrid_asr.training.messages import print_from_any, rank_zero_print
from hybrid_asr.training.module import SpeechModule
from hybrid_asr.training.page_refresh import PageRefresh
from hybrid_asr.training.process_group import broadcast
from hybrid_asr.training.profile_steps import ProfileSteps
from hybrid_asr.training.progress import build_progress
from hybrid_asr.training.save_and_validate import Interrupted, SaveAndValidate
from hybrid_asr.training.status import StatusFile
from hybrid_asr.training.trainer import build_trainer, run_trainer
from hybrid_asr.training.unreadable_audio import Unreadable


def fit(setup: TrainingSetup, module: SpeechModule, status: StatusFile) -> Interrupted | None:
    """Make the updates that are left; gives what stopped them early, if anything did. The run's folder is written."""
    cfg, run, state = setup.cfg, setup.run, setup.state
    run_id = broadcast(_run_id(setup))
    loggers = build_loggers(cfg.logger, run.folder, first_step=setup.first_step, run_id=run_id)
    _open_folder(setup, status, run_id)
    for logger in loggers:
        logger.log_hyperparams(plain(cfg))
    accumulation = setup.planner.accumulation(setup.processes)
    module.accumulate = accumulation
    metrics = CsvMetrics(run.metrics_file)
    metrics.continue_from(setup.first_step)
    progress = build_progress(
        cfg.trainer,
        checkpoints=setup.checkpoints,
        status=status,
        written=metrics.rows,
        state=state,
        nonfinite_file=run.nonfinite_file,
        unreadable=Unreadable(int(cfg.data.unreadable_share * len(setup.train_set)), print_from_any),
        doubtful=Doubtful(print_from_any, known=setup.train_set.notes),
        steps_per_epoch=setup.steps_per_epoch,
    )
    monitor = _attention_monitor(setup, status, partial(show_picture, loggers, "attention/leading_head"))
    validation = Validation(cfg, setup.bundle, setup.valid_set, setup.planner, monitor)
    saver = SaveAndValidate(
        checkpoints=setup.checkpoints,
        progress=progress,
        validate=validation,
        metric=validation.metric,
        every=cfg.trainer.valid_every,
        minutes=cfg.trainer.save_minutes,
        steps=cfg.trainer.save_steps,
        signature=setup.signature,
        run_id=run_id,
        state=state,
    )
    page = PageRefresh(partial(refresh, run, depth="quick"), steps_per_epoch=setup.steps_per_epoch)
    profiler = [ProfileSteps(run.folder / "profile", cfg.trainer.profile)] if cfg.trainer.profile else []
    trainer = build_trainer(
        cfg.trainer,
        setup.launch,
        updates=setup.total_steps - setup.first_step,
        accumulate=accumulation,
        callbacks=[progress, saver, page, *profiler],
        loggers=[metrics, *loggers],
        folder=run.checkpoint_folder,
        model=module.model,
    )
    data = SpeechData(
        setup.planner,
        _loader_builder(setup),
        first=setup.first_step,
        total=setup.total_steps,
        accumulation=accumulation,
    )
    stopped = run_trainer(trainer, module, data)
    if stopped is None:
        rank_zero_print(progress.summary())
    return stopped


def _run_id(setup: TrainingSetup) -> str:
    """By which Weights & Biases knows the run: in its state, and in a file before it has saved any."""
    file = setup.run.run_id_file
    if setup.state is not None and setup.state.run_id:
        return setup.state.run_id
    kept = file.read_text(encoding="utf-8").strip() if file.is_file() and not setup.fresh else ""
    return kept if kept.isalnum() else uuid.uuid4().hex[:12]


def _open_folder(setup: TrainingSetup, status: StatusFile, run_id: str) -> None:
    """Leave in the run's folder what the training resumes from, and say that it runs; the first process alone.

    The configuration makes it a run: it comes first, so that whenever this is cut short the next start finds a run.
    """
    if not is_rank_zero():
        status.begun = True
        return
    if setup.fresh:
        setup.run.clear()
    setup.run.write_config(setup.cfg)
    status.begun = True
    setup.run.model_file.unlink(missing_ok=True)  # of fewer epochs: while more are trained, their mean is the model
    remove_unfinished(setup.run.folder)
    remove_unfinished(setup.run.checkpoint_folder)
    setup.run.checkpoint_folder.mkdir(parents=True, exist_ok=True)
    write_text(setup.run.run_id_file, f"{run_id}\n")
    status.running(setup.first_step)


def _loader_builder(setup: TrainingSetup) -> Callable[[PlanSampler], DataLoader]:
    """What makes a loader of the batches that a sampler plans."""
    cfg = setup.cfg
    return partial(
        build_loader,
        build_dataset(cfg, setup.bundle, setup.train_set),
        workers=cfg.data.workers,
        prefetch=cfg.data.prefetch,
        pin_memory=cfg.trainer.accelerator != "cpu" and torch.cuda.is_available(),
        restarts=cfg.data.worker_restarts,
        warn=print_from_any,
    )


def _attention_monitor(setup: TrainingSetup, status: StatusFile, show: Show) -> AttentionMonitor:
    """What measures attention with each validation, continuing where an earlier process stopped."""
    steps = setup.steps_per_epoch
    pictures = AttentionPictures(
        setup.run.attention_folder,
        draw=draw_epoch,
        show=lambda pixels, step: show(pixels, min(step, setup.total_steps)),  # the last epoch may be cut short
        steps_per_epoch=steps,
    )
    monitor = AttentionMonitor(
        setup.cfg.trainer,
        setup.cfg.model.decoder,
        setup.run.attention_file,
        setup.valid_set,
        pictures=pictures,
        alarms=status.alarm,
        epochs=-(-setup.total_steps // steps),
    )
    if is_rank_zero():
        monitor.continue_from(setup.first_step // steps)
    return monitor
