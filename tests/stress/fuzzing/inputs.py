"""The undamaged inputs: what each kind of file holds, and how hybrid-asr reads it."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from hybrid_asr.audio import io
from hybrid_asr.config.compose import compose
from hybrid_asr.config.compose import digest as compose_digest
from hybrid_asr.config.files import to_yaml
from hybrid_asr.config.schema import plain
from hybrid_asr.data.kaldi import read_kaldi
from hybrid_asr.data.lhotse import read_lhotse
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.splits import SETS
from hybrid_asr.data.tables import read_table
from hybrid_asr.inference.decoding_folder import earlier_report, file_digest
from hybrid_asr.inference.report import Signatures
from hybrid_asr.inference.report_table import table
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.recognizer import load
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run
from hybrid_asr.scoring.files import Reading, score_files
from hybrid_asr.scoring.report import Scored, report
from hybrid_asr.text.tokenizer import BpeTokenizerConfig, CharTokenizerConfig, train_tokenizer
from hybrid_asr.training.checkpoint import Checkpoints, KeptEpoch, TrainingState
from hybrid_asr.training.csv_metrics import CsvMetrics
from hybrid_asr.training.metrics import read_metrics

RATE = 16000
AGAIN = "done again"  # what becomes of a report that is not as it was written, and of a training without a state
TEXTS = ["hello world", "good morning to all", "né à paris", "twenty two", "hello again", "good night"]
SIGNATURES = Signatures(decoding="0" * 64, weights="1" * 64)
RECIPE = """# a recipe
presets: {features: fbank80, tokenizer: char, model: conformer_s, optim: fuzzed, trainer: cpu, decode: joint}
data:
  train: a/train.jsonl
  valid: a/valid.jsonl
  test: [a/test.jsonl]
  batch_seconds: 25
features: {bins: 20}
model:
  encoder: {dim: 16, layers: 1, heads: 2, feed_forward: 32, kernel: 3, channels: 4}
  decoder: {dim: 16, layers: 1, heads: 2, feed_forward: 32}
augment:
  speeds: [0.9, 1.0, 1.1]
  spec: {time_masks: 1}
loss: {ctc_weight: 0.3, smoothing: 0.1}
text: {rules: none@1}
seed: 1
"""
PRESET = "schedule: noam\nlr: 0.002\nwarmup: 500\nclip: 5.0\nbetas: [0.9, 0.98]\n"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of input: the files that operators damage, beneath the folder of a case, and the reader of the folder."""

    files: tuple[str, ...]
    read: Callable[[Path], Any]
    command: tuple[str, ...]  # the same through the command line; {0} is the damaged file
    alone: bool = True  # False: a mistake may be told at another of its files
    notes: Callable[[Path], Sequence[str]] = lambda folder: ()  # what the reader tells of what it reads


def digest(value: Any) -> str:
    """SHA-256 of what was read: arrays and tensors by their numbers, all else as it prints."""
    found = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor | np.ndarray):
            found.update(f"{value.dtype}{tuple(value.shape)}".encode() + np.ascontiguousarray(value).tobytes())
        elif isinstance(value, dict):
            add([part for item in value.items() for part in item])
        elif isinstance(value, list | tuple):
            found.update(f"{len(value)} of ".encode())
            for inner in value:
                add(inner)
        else:
            found.update(repr(value).encode())

    add(value)
    return found.hexdigest()


def speech(seconds: float = 1.5) -> np.ndarray:
    """Something like speech, int16."""
    time, rng = np.arange(round(seconds * RATE)) / RATE, np.random.default_rng(3)
    loud = np.clip(np.sin(2 * np.pi * 1.5 * time), 0, 1)
    return np.rint(9000 * loud * np.sin(2 * np.pi * 310 * time) + 60 * rng.standard_normal(len(time))).astype(np.int16)


def write_sphere(path: Path, samples: np.ndarray) -> None:
    """NIST SPHERE: a header of 1,024 bytes, then 16-bit samples."""
    fields = [f"sample_count -i {len(samples)}", f"sample_rate -i {RATE}", "sample_n_bytes -i 2"]
    fields += ["sample_byte_format -s2 01", "channel_count -i 1", "sample_coding -s3 pcm", "end_head"]
    header = "\n".join(["NIST_1A", "   1024", *fields]) + "\n"
    path.write_bytes(header.encode().ljust(1024) + samples.astype("<i2").tobytes())


def write_m4a(path: Path, samples: np.ndarray) -> None:
    """AAC by ffmpeg, its index in front."""
    program = shutil.which("ffmpeg")
    assert program, "ffmpeg is on PATH where there is the kind m4a"
    source = path.with_name("m4a-source.wav")
    soundfile.write(source, samples, RATE)
    options = ["-v", "error", "-nostdin", "-i", str(source), "-c:a", "aac", "-movflags", "faststart"]
    subprocess.run([program, *options, str(path)], check=True)
    source.unlink()


def write_run(folder: Path, tokenizer: CharTokenizerConfig | BpeTokenizerConfig) -> None:
    """A run whose model has learned nothing: configuration, model, checkpoints, metrics, a decoding."""
    run = Run(folder)
    cfg = compose(folder.parent / "recipe.yaml").parse(RunConfig)
    run.write_config(cfg)
    torch.manual_seed(0)
    bundle = Bundle.build(plain(cfg), train_tokenizer(tokenizer, TEXTS), 0.75)
    bundle.save(run.model_file)
    run.checkpoint_folder.mkdir()
    checkpoints = Checkpoints(run.checkpoint_folder, "last", 2)
    optimizer = torch.optim.AdamW(bundle.model.parameters())
    for step in (10, 20):
        sum(weight.sum() for weight in bundle.model.parameters()).backward()  # type: ignore[union-attr]
        optimizer.step()
        checkpoints.save_epoch(bundle.describe(), bundle.weights(), KeptEpoch(step // 10, step, 0.5 / step))
    checkpoints.save_last(
        TrainingState(
            bundle=bundle.describe(),
            state_dict=bundle.weights(),
            optimizer=optimizer.state_dict(),
            step=20,
            windows=[{}],
        )
    )
    metrics = CsvMetrics(run.metrics_file)
    for step in range(1, 21):
        row = {"epoch": 1 + step // 11, "train.loss": 5 / step, "train.lr": 1e-5 * step}
        metrics.log_metrics(row | ({"valid.joint.wer": 0.5} if step % 10 == 0 else {}), step=step)
    place = folder / "decode" / "test" / "joint"
    place.mkdir(parents=True)
    scores = report([Scored(f"u{n}", text, text[:-2], "ann") for n, text in enumerate(TEXTS)])
    usage = {"audio_s": 9.0, "decode_s": 1.0, "rtf": 0.11, "cut": 0, "empty": 0}
    content = scores.to_json() | usage | {"decoder": plain(cfg.decode), "signatures": SIGNATURES._asdict()}
    (place / "hypotheses.jsonl").write_text('{"id": "u0", "reference": "a", "text": "a"}\n')
    (place / "report.txt").write_text(scores.text())
    content["hypotheses_sha256"] = file_digest(place / "hypotheses.jsonl")
    content["digest"] = compose_digest(content)
    (place / "report.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_texts(folder: Path) -> None:
    """Manifest, table, Kaldi folder, Lhotse manifests, references, hypotheses: six utterances of one sound file."""
    (folder / "kaldi").mkdir()
    (folder / "lhotse").mkdir()
    names = [f"u{number}" for number in range(len(TEXTS))]
    rows, table, hyp = [], ["audio,text,speaker,start,duration,set"], []
    for number, (name, text) in enumerate(zip(names, TEXTS, strict=True)):
        row = {"id": name, "audio": "a.wav", "start_s": 0.2 * number, "duration_s": 0.2}
        rows.append(json.dumps(row | {"text": text, "speaker": f"s{number % 3}"}, ensure_ascii=False))
        subset = SETS[number % 3]
        table.append(f'a.wav,"{text}",s{number % 3},{0.2 * number:.1f},0.2,{subset}')
        hyp.append(json.dumps({"id": name, "text": text[1:]}, ensure_ascii=False))
    pairs = list(zip(names, TEXTS, strict=True))
    source = {"type": "file", "channels": [0], "source": "../a.wav"}
    supervisions = [
        {"id": name, "recording_id": "rec", "start": round(0.2 * n, 1), "duration": 0.2, "channel": 0, "text": text}
        for n, (name, text) in enumerate(pairs)
    ]
    nemo = [
        {"audio_filepath": "a.wav", "offset": round(0.2 * n, 1), "duration": 0.2, "text": text, "split": SETS[n % 3]}
        for n, text in enumerate(TEXTS)
    ]
    contents = {
        "nemo.jsonl": [json.dumps(one, ensure_ascii=False) for one in nemo],
        "lhotse/recordings.jsonl": [json.dumps({"id": "rec", "sources": [source], "sampling_rate": RATE})],
        "lhotse/supervisions.jsonl": [json.dumps(one, ensure_ascii=False) for one in supervisions],
        "manifest.jsonl": rows,
        "table.csv": table,
        "ref.txt": [f"{name} {text}" for name, text in pairs],
        "hyp.jsonl": hyp,
        "hyp.txt": [f"{name} {text[1:]}" for name, text in pairs],
        "hyp.trn": [f"{text[1:]} ({name})" for name, text in pairs],
        "hyp.ctm": [
            f"{name} A {0.2 * n:.1f} 0.1 {word} 0.9" for name, text in pairs for n, word in enumerate(text.split())
        ],
        "ref.trn": [f"{{ {text} / @ }} (uh) {text} ({name})" for name, text in pairs],
        "ref.stm": [f"{name} A s{n % 3} 0.0 2.0 <o,f0> (uh) {{ {text} / um }}" for n, (name, text) in enumerate(pairs)],
        "kaldi/wav.scp": ["rec ../a.wav"],
        "kaldi/text": [f"{name} {text}" for name, text in pairs],
        "kaldi/segments": [f"{name} rec {0.2 * n:.1f} {0.2 * n + 0.2:.1f}" for n, name in enumerate(names)],
        "kaldi/utt2spk": [f"{name} s{n % 3}" for n, name in enumerate(names)],
    }
    for name, lines in contents.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_inputs(folder: Path) -> None:
    """All undamaged inputs. The current folder must be `folder`: the recipe's preset is looked for there."""
    sound = speech()
    for name in ("a.wav", "a.flac", "a.mp3", "a.ogg", "a.aiff", "a.au"):
        soundfile.write(folder / name, sound, RATE)
    soundfile.write(folder / "float.wav", np.stack([sound, sound], 1) / 32768, RATE, subtype="FLOAT")
    soundfile.write(folder / "a.opus", sound, RATE, format="OGG", subtype="OPUS")
    write_sphere(folder / "a.sph", sound)
    if "m4a" in KINDS:
        write_m4a(folder / "a.m4a", sound)
    write_texts(folder)
    (folder / "conf" / "optim").mkdir(parents=True)
    (folder / "conf" / "optim" / "fuzzed.yaml").write_text(PRESET)
    (folder / "recipe.yaml").write_text(RECIPE)
    write_run(folder / "run", CharTokenizerConfig())
    write_run(folder / "bpe", BpeTokenizerConfig(size=30))


def _audio(name: str) -> Kind:
    def read(folder: Path) -> Any:
        header, samples = io.info(folder / name), io.read(folder / name)
        assert np.isfinite(samples).all() and 0 < len(samples) < 60 * RATE, "samples that nobody can have meant"
        part = io.read(folder / name, duration_s=min(0.1, len(samples) / RATE))
        return [header.rate, header.samples, header.channels, samples, part]

    return Kind((name,), read, ("transcribe", "run/model.pt", "{0}"), notes=lambda folder: io.info(folder / name).notes)


def _manifest(folder: Path) -> Any:
    return [dataclasses.astuple(utterance) for utterance in Manifest.read(folder / "manifest.jsonl")]


def _sets(sets: Any) -> Any:
    return {name: [dataclasses.replace(one, audio="") for one in rows] for name, rows in sets.items()}


def _bundle(bundle: Bundle) -> Any:
    used = {name: bundle.config[name] for name in ("features", "model", "text", "decode")}
    return [
        used,
        bundle.config["loss"]["ctc_weight"],
        bundle.labels_per_frame,
        bundle.labels_per_second,
        bundle.text,
        bundle.tokenizer.state(),
        bundle.weights(),
    ]


def _last(folder: Path) -> Any:
    checkpoints = Checkpoints(folder / "run" / "checkpoints", "last", 2)
    state = checkpoints.load_last()
    if state is None:  # no file of this name: the training begins anew
        return AGAIN
    bundle = Bundle.restore(state.bundle, state.state_dict, checkpoints.folder / "last.ckpt")
    return [_bundle(bundle), state.optimizer, state.step, checkpoints.history]


def _metrics(folder: Path) -> Any:
    rows = read_metrics(folder / "run" / "metrics.csv")
    numbers = [[float(value) for value in row.values() if value] for row in rows]
    CsvMetrics(folder / "run" / "metrics.csv").continue_from(15)
    return [rows, numbers, read_metrics(folder / "run" / "metrics.csv")]


def _report(folder: Path) -> Any:
    found = earlier_report(folder / "run" / "decode" / "test" / "joint", SIGNATURES)
    return AGAIN if found is None else table({"test/joint": found})


def _score(ref: str, hyp: str) -> Callable[[Path], Any]:
    return lambda folder: score_files(folder / ref, folder / hyp, reading=Reading(tell=[].append)).to_json()


SHOW_RUN = ("show", "run", "run")
KINDS: dict[str, Kind] = {
    "wav": _audio("a.wav"),
    "float-wav": _audio("float.wav"),
    "flac": _audio("a.flac"),
    "mp3": _audio("a.mp3"),
    "ogg": _audio("a.ogg"),
    "opus": _audio("a.opus"),
    "sphere": _audio("a.sph"),
    "aiff": _audio("a.aiff"),
    "au": _audio("a.au"),
    "m4a": _audio("a.m4a"),
    "manifest": Kind(("manifest.jsonl",), _manifest, ("show", "manifest", "{0}")),
    "table": Kind(
        ("table.csv",), lambda f: _sets(read_table(f / "table.csv").sets), ("prepare", "table:{0}", "--to", "to")
    ),
    "table-json": Kind(
        ("nemo.jsonl",), lambda f: _sets(read_table(f / "nemo.jsonl").sets), ("prepare", "table:{0}", "--to", "to")
    ),
    "kaldi": Kind(
        ("kaldi/wav.scp", "kaldi/text", "kaldi/segments", "kaldi/utt2spk"),
        lambda folder: _sets(read_kaldi(folder / "kaldi").sets),
        ("prepare", "kaldi:kaldi", "--to", "to"),
        alone=False,
    ),
    "lhotse": Kind(
        ("lhotse/supervisions.jsonl", "lhotse/recordings.jsonl"),
        lambda folder: _sets(read_lhotse(folder / "lhotse").sets),
        ("prepare", "lhotse:lhotse", "--to", "to"),
        alone=False,
    ),
    "recipe": Kind(("recipe.yaml",), lambda f: compose(f / "recipe.yaml").parse(RunConfig), ("train", "{0}")),
    "preset": Kind(
        ("conf/optim/fuzzed.yaml",), lambda f: compose(f / "recipe.yaml").parse(RunConfig), ("train", "recipe.yaml")
    ),
    "config": Kind(("run/config.yaml",), lambda f: to_yaml(plain(Run(f / "run").read_config())), SHOW_RUN),
    "model": Kind(
        ("run/model.pt",),
        lambda f: _bundle(load(f / "run" / "model.pt", device="cpu").bundle),
        ("transcribe", "{0}", "a.wav"),
    ),
    "bpe-model": Kind(
        ("bpe/model.pt",),
        lambda f: _bundle(load(f / "bpe" / "model.pt", device="cpu").bundle),
        ("transcribe", "{0}", "a.wav"),
    ),
    "last": Kind(("run/checkpoints/last.ckpt",), _last, SHOW_RUN),
    "metrics": Kind(("run/metrics.csv",), _metrics, SHOW_RUN),
    "report": Kind(("run/decode/test/joint/report.json",), _report, SHOW_RUN),
    "hyp-json": Kind(("hyp.jsonl",), _score("ref.txt", "hyp.jsonl"), ("score", "ref.txt", "{0}")),
    "hyp-kaldi": Kind(("hyp.txt",), _score("ref.txt", "hyp.txt"), ("score", "ref.txt", "{0}")),
    "hyp-trn": Kind(("hyp.trn",), _score("ref.txt", "hyp.trn"), ("score", "ref.txt", "{0}")),
    "hyp-ctm": Kind(("hyp.ctm",), _score("ref.stm", "hyp.ctm"), ("score", "ref.stm", "{0}")),
    "ref-trn": Kind(("ref.trn",), _score("ref.trn", "hyp.trn"), ("score", "{0}", "hyp.trn")),
    "ref-stm": Kind(("ref.stm",), _score("ref.stm", "hyp.ctm"), ("score", "{0}", "hyp.ctm")),
    "references": Kind(("ref.txt",), _score("ref.txt", "hyp.txt"), ("score", "{0}", "hyp.txt")),
}
if shutil.which("ffmpeg") is None:
    del KINDS["m4a"]
