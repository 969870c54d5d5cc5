"""`hybrid-asr train`: from a recipe to a run's folder with a model in it; repeated, it resumes where it stopped."""

import dataclasses
import itertools
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hybrid_asr.audio.augment import describe
from hybrid_asr.commands.training_facts import code_facts, setting_facts
from hybrid_asr.commands.training_fit import fit
from hybrid_asr.commands.training_model import build_module
from hybrid_asr.commands.training_setup import TrainingSetup, prepare_training
from hybrid_asr.commands.training_threads import choose_threads
from hybrid_asr.common.errors import UserError
from hybrid_asr.config.compose import COMMAND_LINE, compose
from hybrid_asr.inference.presets import ALL
from hybrid_asr.pages.run_page import refresh
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run, RunError, default_folder
from hybrid_asr.run.former_defaults import with_former_defaults
from hybrid_asr.training.agreement import agree
from hybrid_asr.training.checkpoint import Checkpoints
from hybrid_asr.training.folder_lock import hold_folder_lock
from hybrid_asr.training.launch_environment import Launch, detect_launch, is_rank_zero
from hybrid_asr.training.local_processes import end_with_agent, run_processes
from hybrid_asr.training.messages import print_stderr, rank_zero_print
from hybrid_asr.training.optim import warmup_doubt
from hybrid_asr.training.process_group import broadcast, connected, is_connected, last_step, note, on_end, together
from hybrid_asr.training.save_and_validate import Halted
from hybrid_asr.training.signals import StoppedAtOnce, signals_handled
from hybrid_asr.training.status import State, StatusFile, read_status
from hybrid_asr.training.trainer import check_devices
from hybrid_asr.training.watch import End


def train(recipe: str, overrides: Sequence[str] = (), *, folder: Path | None = None, fresh: bool = False) -> int:
    """Train `recipe` in `folder`; returns the exit status. Raises UserError on anything the user can fix."""
    launch, command = detect_launch(), _command(recipe, overrides, folder)
    end_with_agent()
    with signals_handled():
        try:
            with connected(launch):
                return _train_together(recipe, overrides, folder, launch, fresh=fresh, command=command)
        except StoppedAtOnce as stop:
            rank_zero_print(
                f"terminated (exit status {stop.code}); what was saved before stays, go on with:\n  {command}"
            )
            return stop_status(launch, stop.signal_number)


def stop_status(launch: Launch | None, signal_number: int) -> int:
    """The exit status of a training that a signal has stopped in an orderly way.

    A launcher takes another than 0 for a failure, ends the other processes and may start all anew.
    """
    return 128 + signal_number if launch is None else 0


def _train_together(
    recipe: str, overrides: Sequence[str], folder: Path | None, launch: Launch | None, *, fresh: bool, command: str
) -> int:
    cfg, run = _configure(recipe, overrides, folder, launch, fresh=fresh)
    if launch is None and cfg.trainer.processes() > 1:
        where, anew = ["--run", str(folder)] if folder else [], ["--fresh"] if fresh else []
        return run_processes(cfg.trainer.processes(), ["train", recipe, *overrides, *where, *anew])
    fresh = fresh or cfg.trainer.try_steps > 0
    with hold_folder_lock(run.folder):
        begin_anew = _from_weights(recipe, overrides, run.folder)
        setup = prepare_training(cfg, run, launch, fresh=fresh, begin_anew=begin_anew)
        try:
            return run_to_end(setup, command)
        finally:  # of a training that failed or was stopped, too
            if is_rank_zero() and run.exists():
                note("drawing the page")
                refresh(run)


def _configure(
    recipe: str, overrides: Sequence[str], folder: Path | None, launch: Launch | None, *, fresh: bool
) -> tuple[RunConfig, Run]:
    """The settings, with the number of processes, and the run's folder, which may be one to train in.

    All processes have the same ones, and the same code. The first one alone looks into the folder.
    """
    composed = together(lambda: compose(recipe, overrides))
    run = Run(folder or default_folder(composed.recipe or Path(recipe)))

    def begun() -> dict[str, object]:
        if is_rank_zero():
            run.refuse_unless_run_or_empty()
        return run.written_settings() if is_rank_zero() and not fresh else {}

    composed = with_former_defaults(composed, broadcast(together(begun)))
    cfg = together(lambda: composed.parse(RunConfig))
    cfg = dataclasses.replace(cfg, trainer=together(lambda: check_devices(cfg.trainer, launch)))
    begins_others = launch is None and cfg.trainer.processes() > 1  # which say all this themselves
    for path in () if begins_others else composed.dropped:
        if composed.sources.get(path) != COMMAND_LINE:
            rank_zero_print(f"left out: {path}, which the recipe wrote for another preset of {path.partition('.')[0]}")
    if cfg.trainer.try_steps:  # a run's folder stays as it is; that of a trial before is made anew
        run = Run(Path(f"{run.folder}-try"))
        cfg = dataclasses.replace(cfg, trainer=dataclasses.replace(cfg.trainer, epochs=1, steps=None))
        if not begins_others:
            rank_zero_print(f"trying {cfg.trainer.try_steps} steps, and all that belongs to them, in {run.folder}")
    if is_connected():
        agree(setting_facts(cfg) | code_facts())
    return cfg, run


def _command(recipe: str, overrides: Sequence[str], folder: Path | None) -> str:
    """What the user typed, so that it can be typed again; without --fresh."""
    words = ["hybrid-asr", "train", recipe, *overrides, *(["--folder", str(folder)] if folder else [])]
    return shlex.join(words)


def _from_weights(recipe: str, overrides: Sequence[str], folder: Path) -> str:
    """The command that trains a new run, beginning with the weights of the one in `folder`."""
    number = next(number for number in itertools.count(2) if not Path(f"{folder}-{number}").exists())
    others = [override for override in overrides if not override.startswith("init.from=")]
    return _command(recipe, [*others, f"init.from={folder}"], Path(f"{folder}-{number}"))


def run_to_end(setup: TrainingSetup, command: str) -> int:
    """Train, validate, save; then average. Returns 0, or 128 + the signal that stopped it.

    Whatever ends it early is written to status.json, and the error says with which `command` to continue.
    """
    status = StatusFile(
        setup.run.status_file,
        total=setup.total_steps,
        step=setup.first_step,
        saved=setup.checkpoints.saved,
        elapsed_s=0.0 if setup.state is None else setup.state.elapsed_s,
    )
    on_end(partial(_tell_end, setup, status, command))
    try:
        return _train(setup, status, command)
    except OSError as error:  # a full disk, a quota, a folder that vanished or must not be written to
        if not is_rank_zero():  # the first process says how to continue
            raise
        file = error.filename or f"a file in {setup.run.folder}"
        cause = f"{file}: {error.strerror or error}"
        failure = RunError(f"{cause}\n{how_to_continue(setup.checkpoints, command, when='once that is fixed')}")
        _record(status, "failed", str(failure))
        raise failure from error
    except UserError as error:
        if not status.begun:
            raise
        if isinstance(error, Halted) and not is_rank_zero():
            return 0  # all stop together, and the first reports it
        if not is_rank_zero():
            raise
        failure = RunError(f"{error}\n{how_to_continue(setup.checkpoints, command, when='once that is fixed')}")
        _record(status, "failed", str(failure))
        raise failure from error
    except SystemExit:
        advice = how_to_continue(setup.checkpoints, command, when="to train on")
        _record(status, "stopped", f"stopped at once; {advice}")
        raise
    except BaseException as error:
        _record(status, "failed", f"{type(error).__name__}: {str(error)[:500]}")
        raise


def how_to_continue(checkpoints: Checkpoints, command: str, *, when: str) -> str:
    """What is saved of a training that ended early, and the command that resumes it; `when` says when to."""
    step, folder = checkpoints.saved, checkpoints.folder
    if step is None or not checkpoints.can_resume():
        return f"no state is saved in {folder}; {when}, begin again with:\n  {command}"
    return f"the last saved state is that of step {step} in {folder}; {when}, continue with:\n  {command}"


def _tell_end(setup: TrainingSetup, status: StatusFile, command: str, end: End, cause: str) -> None:
    """Write down and print why another process ends this training; of a first process that is gone its file tells."""
    former = None if is_rank_zero() else read_status(setup.run.status_file)
    if former is not None:
        setup.checkpoints.saved = status.saved = former.saved_step
    status.step = max(status.step, last_step())
    message = f"{cause}\n{how_to_continue(setup.checkpoints, command, when='once that is clear')}"
    if status.begun:
        lost = "killed" if end.gone and not end.stalled else "failed"  # of what was killed a job may go on by itself
        status.write("stopped" if end.signal else lost, message, last=True)
    print_stderr(f"hybrid-asr train: {message}")


def _record(status: StatusFile, state: State, message: str) -> None:
    if status.begun and is_rank_zero():
        status.write(state, message)


def _train(setup: TrainingSetup, status: StatusFile, command: str) -> int:
    module = build_module(setup.cfg, setup.bundle, setup.steps_per_epoch, first_step=setup.first_step)
    _announce(setup)
    if setup.first_step < setup.total_steps:
        setup = choose_threads(setup, module)
        stopped = fit(setup, module, status)
        if stopped:
            message = f"stopped after step {stopped.step}, everything is saved; go on with:\n  {command}"
            rank_zero_print(message)
            _record(status, "stopped", message)
            return stop_status(setup.launch, stopped.signal_number)
    if is_rank_zero():
        note("averaging")
        _write_model(setup)
        status.write("finished")
    return 0


def _announce(setup: TrainingSetup) -> None:
    weights, freeze = list(setup.bundle.model.parameters()), setup.cfg.init.freeze
    if freeze:
        frozen = sum(weight.numel() for weight in weights if not weight.requires_grad)
        rank_zero_print(f"frozen: {frozen:,} parameters ({', '.join(freeze)})")
    size, units = sum(weight.numel() for weight in weights), setup.bundle.tokenizer.vocab_size
    rank_zero_print(f"model: {size:,} parameters, {units} units; augmentation: {describe(setup.cfg.augment)}")
    rank_zero_print(f"first epoch: {setup.planner.plan(0).statistics.text()}")
    if doubt := warmup_doubt(setup.cfg.optim, setup.total_steps, length=setup.cfg.trainer.length[0]):
        rank_zero_print(f"warning: {doubt}")
    if setup.first_step:
        rank_zero_print(f"continuing {setup.run.folder} at step {setup.first_step} of {setup.total_steps}")


def _write_model(setup: TrainingSetup) -> None:
    """Average the chosen checkpoints into model.pt."""
    cfg, run, checkpoints = setup.cfg, setup.run, setup.checkpoints
    run.write_config(cfg)  # of a finished training, too: what decides no weight may be new
    setup.bundle.load_weights(checkpoints.average_weights())
    setup.bundle.save(run.model_file)
    chosen, best = checkpoints.chosen(), checkpoints.best()
    rank_zero_print(f"{run.model_file}: the mean of epochs {', '.join(str(entry.epoch) for entry in chosen)}")
    if best is not None and best.error is not None:
        rank_zero_print(f"best epoch: {best.epoch} with valid {cfg.metric.upper()} {best.error:.2%}")
    rank_zero_print(f"look at {run.page_file}; decode with:")
    rank_zero_print(f"  hybrid-asr decode {shlex.quote(str(run.folder))} --sets valid,test --decoders {ALL}")
