"""The batch script says what was asked for, word by word; the job goes on where that makes sense, and only then."""

import shlex
import subprocess
from pathlib import Path

import pytest

from hybrid_asr.cli import main
from hybrid_asr.common.errors import UserError
from hybrid_asr.launch.slurm import IDLE_TURNS, Array, SlurmJob, parse_array, parse_more, refuse_time, script

SEEDS = Array(key="seed", values=("1", "2 or 3"))
ODD = ("data.root=a b", "text.tags=[$HOME, `id`]", 'init.from=it\'s "quoted" \\ *', "x=#1")
OF_ARRAY = {"SLURM_JOB_ID": "71", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "1"}
TRAIN = "srun --kill-on-bad-exit=1 hybrid-asr"


def bash(code: str, **variables: str) -> str:
    """What bash prints of a script, with nothing but these variables."""
    environment = {"PATH": "/usr/bin:/bin"} | variables
    done = subprocess.run(["bash", "-c", code], env=environment, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout


def words_of(job: SlurmJob, **variables: str) -> list[str]:
    """The words that the script gives to hybrid-asr, as bash itself splits them."""
    lines = script(job).splitlines()
    first, last = (next(at for at, line in enumerate(lines) if line.startswith(start)) for start in ("run", "status="))
    first = next((at for at, line in enumerate(lines) if line.startswith("values=")), first)
    code = "\n".join(line for line in lines[first:last] if not line.startswith("read "))
    return bash(code.replace(TRAIN, r"printf '%s\0'"), **variables).split("\0")[:-1]


def test_every_word_reaches_the_training_as_it_was_given():
    job = SlurmJob(recipe="my recipes/a$b.yaml", overrides=ODD, folder=Path("runs/it's 100%"))
    assert words_of(job, SLURM_JOB_ID="7") == ["train", job.recipe, *ODD, "--folder", str(job.folder)]
    bash(f"bash -n <<'END'\n{script(job)}END")


def test_a_task_of_an_array_has_its_value_and_its_folder():
    job = SlurmJob(recipe="r.yaml", overrides=(), folder=Path("runs/r"), array=SEEDS)
    assert words_of(job, **OF_ARRAY) == ["train", "r.yaml", "seed=2 or 3", "--folder", "runs/r-seed-2_or_3"]
    assert "#SBATCH --array=0-1\n" in script(job)
    assert "#SBATCH --output=runs/r.%A_%a.log\n" in script(job)


def after(
    state: str, *, saved: int, status: int = 0, job_state: str = "RUNNING", array: Array | None = None, folder: Path
) -> str:
    """What the script does when a turn that began at step 5 has ended; scontrol is spoken to by name alone."""
    text = script(SlurmJob(recipe="r.yaml", overrides=(), folder=folder / "r", array=array))
    setting, deciding = text.index("values=(" if array else "run="), text.index("# Stopped by")
    code = text[setting : text.index("read -r _")] + f"before=5 status={status}\n" + text[deciding:]
    code = code.replace('< <(hybrid-asr runs --state "$seen")', f"<<< '{state} {saved}'").replace(
        'exit "$status"', "exit"
    )
    code = code.replace('$(squeue --noheader --jobs="$job" --format=%T)', job_state)
    return bash(code.replace("scontrol", "echo scontrol"), **({"SLURM_JOB_ID": "71"} | (OF_ARRAY if array else {})))


@pytest.mark.parametrize("state", ["stopped", "killed"])
def test_a_stopped_training_is_queued_again_by_its_own_number(state, tmp_path):
    assert "scontrol requeue 71\n" in after(state, saved=6, folder=tmp_path)
    assert "scontrol requeue 70_1\n" in after(state, saved=6, array=SEEDS, folder=tmp_path)


@pytest.mark.parametrize(
    ("state", "saved", "job_state"),
    [("stopped", 6, "COMPLETING"), ("stopped", 5, "COMPLETING"), ("stopped", 6, "")]
    + [(state, 6, "RUNNING") for state in ("failed", "finished", "damaged")],
)
def test_no_job_goes_on_against_its_users_will(state, saved, job_state, tmp_path):
    """Not after scancel, not what has failed or finished; nothing is left beside the run."""
    told = after(state, saved=saved, job_state=job_state, folder=tmp_path)
    assert "scontrol" not in told
    assert f"is {state}; step {saved} is saved, 5 when this turn began" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("state", "status"), [("stopped", 0), ("killed", 137), ("none", 143), ("none", 0), ("unknown", 138), ("unknown", 0)]
)
def test_turns_that_are_cut_short_while_they_start_do_not_end_a_job_until_they_go_in_circles(state, status, tmp_path):
    def turn(saved: int) -> bool:
        return "scontrol requeue 71\n" in after(state, saved=saved, status=status, folder=tmp_path)

    assert [turn(5), turn(5), turn(5)] == [True] * IDLE_TURNS
    assert turn(6), "a later step"
    assert [turn(5), turn(5), turn(5), turn(5)] == [True] * IDLE_TURNS + [False]
    assert not list(tmp_path.iterdir()), "submitted again, it counts anew"


def test_a_trial_that_has_ended_does_not_go_on(tmp_path, tones, capsys):
    assert dry_run(tones, "trainer.try_steps=2", "--folder", str(tmp_path / "r")) == 0
    told = capsys.readouterr().out
    assert "seen=$run-try " in told and told.count('runs --state "$seen"') == 2


def dry_run(tones: Path, *more: str) -> int:
    settings = ["train", str(tones / "tiny.yaml"), f"data.root={tones}", "--launch", "slurm", "--dry-run"]
    return main([*settings, *more])


def test_four_nodes_with_eight_gpus_are_asked_for_as_lightning_needs_them(tones, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    more = ["--nodes", "4", "--gpus", "8", "--time", "24:00:00", "--partition", "P", "--account", "A", "--cpus", "6"]
    assert dry_run(tones, *more, "--sbatch", "--exclusive --comment='two words'") == 0
    told = capsys.readouterr()
    options = {line.removeprefix("#SBATCH ") for line in told.out.splitlines() if line.startswith("#SBATCH")}
    assert options >= {
        *("--nodes=4", "--ntasks-per-node=8", "--gpus-per-node=8", "--gpu-bind=none", "--cpus-per-task=6"),
        *("--time=24:00:00", "--partition=P", "--account=A", "--signal=USR1@120", "--requeue", "--open-mode=append"),
        *("--exclusive", "'--comment=two words'", f"--chdir={shlex.quote(str(tmp_path))}"),
    }
    assert "accelerator=cpu leaves the GPUs idle" in told.err
    assert not list(tmp_path.iterdir())


REFUSED = {
    ("--tasks", "2", "trainer.devices=3"): "trainer.devices=3: srun has started 2 processes",
    ("--gpus", "2", "--tasks", "4"): "--tasks 4: there is one process for each of --gpus 2",
    ("--fresh",): "--fresh: a job that is requeued would discard",
    ("--array", "seed"): "--array seed: give a setting and its values",
    ("--array", "seed=1,1"): "would train in the same folder",
    ("--array", "augment.speeds=[0.9,1],[1]"): "is split at each comma, within brackets, too",
    ("--time", "soon"): "--time 'soon': is no time of sbatch; write it as 24:00:00",
    ("--time", ""): "--time '': is no time",
    ("--time", "1:30"): "--time 1:30: the training is told 120 s before its end, so at its start",
    ("--partition", "a\nb"): r"--partition 'a\nb': has a line break",
    ("--folder", "runs/a\nb"): r"--folder 'runs/a\nb': has a line break",
    ("--sbatch", "--comment='a\nb'"): r"--sbatch '--comment=a\nb': has a line break",
    ("--array", "sed=1,2"): "sed: unknown key; did you mean 'seed'?",
    ("--sbatch", "exclusive"): "give options as --name=value",
    ("optim.lr=fast",): "optim.lr",
}


@pytest.mark.parametrize(("more", "message"), REFUSED.items(), ids=[" ".join(more) for more in REFUSED])
def test_what_would_fail_once_it_has_waited_is_refused_at_once(more, message, tones, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert dry_run(tones, *more) == 2
    told = capsys.readouterr()
    assert message in told.err and not told.out


def test_without_slurm_or_launch_the_message_says_so(tones, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["train", str(tones / "tiny.yaml"), f"data.root={tones}", "--launch", "slurm"]) == 2
    assert "there is no sbatch here" in capsys.readouterr().err
    assert main(["train", str(tones / "tiny.yaml"), "--nodes", "2"]) == 2
    assert "--nodes goes with --launch slurm" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_second_array_is_refused(tones, capsys):
    with pytest.raises(SystemExit):
        dry_run(tones, "--array", "seed=1,2", "--array", "optim.lr=1,2")
    assert "--array: is given twice; one job has one array" in capsys.readouterr().err


@pytest.mark.parametrize("time", ["3", "2:01", "0:02:01", "1-0", "0-0:3", "2-12:00:00", "24:00:00", "UNLIMITED", "0"])
def test_times_are_those_of_sbatch(time):
    refuse_time(time, ())
    refuse_time("1:30", ("--signal=USR1@20",))


def test_lists_of_values_and_options_are_read():
    assert parse_array("optim.lr=1e-3, 2e-3") == Array(key="optim.lr", values=("1e-3", "2e-3"))
    assert parse_more("--mem=0 -x'n1'") == ("--mem=0", "-xn1")
    with pytest.raises(UserError, match="No closing quotation"):
        parse_more("--comment='a")
