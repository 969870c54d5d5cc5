"""How fast is decoding?  Ours beside ESPnet's and SpeechBrain's, the gain of each part, and what the cost depends on.

    make bench WHAT=decoding                  # the table; installs the peers first
    python -m tools.benchmarks.bench_decoding table        # joint, whole vocabulary, attention, CTC prefix
    python -m tools.benchmarks.bench_decoding parts        # the cached decoder and the prefix scorer, each alone
    python -m tools.benchmarks.bench_decoding plot         # cost against beam, batch, audio and vocabulary
    python -m tools.benchmarks.bench_decoding gpu          # batches of 1 to 128, where there is a GPU
    python -m tools.benchmarks.bench_decoding an4 --model runs/espnet_an4 --data data/an4/test.jsonl

The workload: a Conformer of 12 x 256 and a decoder of 6 x 256 with random weights, 10 s of noise, beam 10, CTC weight
0.3, exactly 40 labels (eos is out of the question); seconds are those of an utterance, from encoder output to n-best.
ESPnet and ours have the same weights and the same encoder outputs, and no ratio is printed where their n-best differ.
Each contestant is a process of its own; they take turns, and medians over the rounds count. `--realtime` (root) puts
the measured section before all other processes of a shared machine. `an4` decodes a whole set from audio to text with
a model that ESPnet trained (tools/peers/train_espnet_an4.py) and we import: ESPnet one utterance at a time, ours in
batches. The last line counts what was measured; the exit status is 1 where a comparison has no ratio, since the n-best
differ, and where ESPnet, whose random weights all decode with, is not installed.
"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from tools.benchmarks.decoding_audio import RECOGNIZERS
from tools.benchmarks.decoding_parts import PlainDecoder
from tools.benchmarks.decoding_plot import Point, case_at, draw, places
from tools.benchmarks.decoding_prefix import LoopSearcher, PrefixSearcher
from tools.benchmarks.decoding_work import ROWS, Case, Verdict, compare, gathered, request, turn_of
from tools.benchmarks.sidebyside import Contest, Row, closing, installed, medians, ratio, serve, timed
from tools.peers.decoding_toolkits import EspnetSearcher, OurSearcher, Searcher, SpeechBrainSearcher
from tools.peers.toolkits import Sizes

ESPNET, SPEECHBRAIN, OURS, HALF = "ESPnet 202511", "SpeechBrain 1.1.2", "ours", "ours, bf16"
LOOP, PREFIX = "plain loops", "ours, prefix beam"
PLAIN = {
    "frame-by-frame CTC": {"frame_by_frame": True, "uncached": False},
    "uncached decoder": {"frame_by_frame": False, "uncached": True},
    "both plain": {"frame_by_frame": True, "uncached": True},
}
SEARCHERS: dict[str, Callable[[Sizes, str], Searcher]] = {
    ESPNET: EspnetSearcher,
    SPEECHBRAIN: SpeechBrainSearcher,
    OURS: OurSearcher,
    HALF: partial(OurSearcher, dtype="bfloat16"),
    LOOP: LoopSearcher,
    PREFIX: PrefixSearcher,
    **{name: partial(OurSearcher, kind=partial(PlainDecoder, **ways)) for name, ways in PLAIN.items()},
}
GPU_BATCHES = (1, 8, 32, 128)
TINY = Sizes(dim=16, heads=2, feed_forward=32, layers=1, decoder_layers=2, kernel=7, channels=8)


def main() -> int:
    """Read the command line; as a worker, serve."""
    options = arguments(sys.argv[1:])
    if options.worker:
        return serve(lambda: contestant(options))
    if not installed("espnet2"):  # its model has the weights that all searches decode with
        return 1
    rows = {"table": table, "parts": parts, "plot": plot, "gpu": gpu, "an4": an4}[options.what](options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    last, status = closing(rows, Contest.asked)
    print(last)
    return status


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("table", "parts", "plot", "gpu", "an4"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--realtime", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these contestants alone")
    parser.add_argument("--rows", nargs="+", metavar="NAME", choices=ROWS, default=list(ROWS), help="these rows alone")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="an4: config.yaml and model.pth of ESPnet's model")
    parser.add_argument("--data", type=Path, metavar="MANIFEST", help="an4: the set to decode")
    parser.add_argument(
        "--out", type=Path, default=Path("docs"), metavar="FOLDER", help="where `plot` puts its picture"
    )
    parser.add_argument("--tiny", action="store_true", help="a model of next to nothing: does it all still run?")
    parser.add_argument("--device", default="cpu", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.what == "an4" and not (options.model and options.data):
        parser.error("an4 needs --model and --data")
    if options.rounds < 1 or options.threads < 1:
        parser.error("--rounds and --threads are at least 1")
    return options


def contestant(options: argparse.Namespace) -> Callable[[Row], Row]:
    """What decodes a case for each request; the answer holds the seconds of an utterance and the n-best."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    if options.what == "an4":
        return transcribing(options)
    searcher = SEARCHERS[options.worker](TINY if options.tiny else Sizes(), options.device)

    def answer(asked: Row) -> Row:
        case, turn, rounds = Case(**asked["case"]), asked["turn"], asked["rounds"]
        utterances = list(range(case.batch)) if searcher.batched else turn_of(turn, case.batch, rounds)
        seconds, found = timed(searcher.prepare(case, utterances), realtime=options.realtime)
        return {"seconds": seconds / len(utterances), "nbest": dict(zip(utterances, found, strict=True))}

    return answer


def transcribing(options: argparse.Namespace) -> Callable[[Row], Row]:
    """What takes utterances of a set from audio to text for each request."""
    recognizer = RECOGNIZERS[options.worker](options.model, options.data)
    everyone = range(len(recognizer.manifest))

    def answer(asked: Row) -> Row:
        places = everyone[asked["turn"] :: asked["rounds"]] if recognizer.share else everyone
        seconds, said = timed(lambda: recognizer.transcribe(places), realtime=options.realtime)
        audio = float(sum(recognizer.manifest.durations[place] for place in places))
        return {"seconds": seconds, "audio": audio, "nbest": said}

    return answer


def sized(options: argparse.Namespace, case: Case) -> Case:
    """The case, or next to nothing of it."""
    return case._replace(units=min(case.units, 60), seconds=1.0, labels=5) if options.tiny else case


def contest(options: argparse.Namespace, names: Sequence[str]) -> Contest:
    """Workers of these names, as far as they are wanted."""
    passed = [options.what, "--threads", str(options.threads), "--device", options.device]
    passed += [word for key in ("model", "data") if (path := getattr(options, key)) for word in (f"--{key}", str(path))]
    passed += [flag for flag, given in (("--realtime", options.realtime), ("--tiny", options.tiny)) if given]
    wanted = [name for name in names if not options.only or name in options.only]
    return Contest("tools.benchmarks.bench_decoding", wanted, threads=options.threads, options=passed)


def taken_in_turns(
    rivals: Contest, names: Sequence[str], case: Case, rounds: int, *, shares: int | None = None
) -> dict[str, list[Row]]:
    """Answers of every round, after one that is not measured.

    A toolkit without batches decodes one of `shares` parts of the batch in each round; by default, all in all rounds.
    """
    answers: dict[str, list[Row]] = {name: [] for name in names if name in rivals.workers}
    for turn in range(-1, rounds):
        for name, found in answers.items():
            answer = rivals.ask(name, case=request(case), turn=max(turn, 0), rounds=shares or rounds)
            if turn >= 0:
                found.append(answer)
    return answers


def an4(options: argparse.Namespace) -> list[Row]:
    """A whole set from audio to text; ESPnet, one utterance at a time, decodes a share of it in each round."""
    rivals = contest(options, list(RECOGNIZERS))
    print(f"{options.data}, from audio to text: seconds for the whole set; {circumstances(options)}")
    answers: dict[str, list[Row]] = {name: [] for name in rivals.workers}
    for turn in range(-1, options.rounds):
        for name, found in answers.items():
            found += [rivals.ask(name, turn=max(turn, 0), rounds=options.rounds)][: turn + 1]
    rivals.close()
    whole = {name: whole_set(given) for name, given in answers.items()}
    texts = {name: gathered(given) for name, given in answers.items()}
    rows: list[Row] = []
    for name, (seconds, least, most) in whole.items():
        line = f"  {name:22} {seconds:8.2f} ({least:.2f} … {most:.2f})"
        if name != ESPNET and ESPNET in whole:
            verdict = compare(texts[name], texts[ESPNET])
            said = f"{verdict.best} of {len(texts[name])} texts equal"
            row = ratio(f"an4: {name}", seconds, whole[ESPNET][0], "seconds, the whole set") | {"texts": said}
            complete = verdict.best == len(texts[name])
            rows.append(row if complete else row | {"ratio": None, "why": said})
            line += f"  {whole[ESPNET][0] / seconds:6.2f}x  {said}" if complete else f"  no ratio: {said}"
            if name == HALF and OURS in texts:
                line += f"; {compare(texts[name], texts[OURS]).best} equal to float32"
        print(line)
    return rows


def whole_set(given: Sequence[Row]) -> tuple[float, float, float]:
    """Seconds for the whole set: median, least and most over rounds; of shares their sum, and the range that each
    share alone would give."""
    most = max(row["audio"] for row in given)
    if most == min(row["audio"] for row in given):
        found = medians({"": given}, "seconds")[""]
        return found
    audio, seconds = (sum(row[key] for row in given) for key in ("audio", "seconds"))
    rates = [row["seconds"] / row["audio"] for row in given]
    return seconds, audio * min(rates), audio * max(rates)


def circumstances(options: argparse.Namespace) -> str:
    """What a table was measured under."""
    return (
        f"{options.threads} threads, {options.rounds} rounds, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}"
    )


def table(options: argparse.Namespace) -> list[Row]:
    """Ours and the peers, row by row."""
    wanted = {name for row in options.rows for name in contestants_of(ROWS[row])}
    rivals = contest(options, [name for name in SEARCHERS if name in wanted])
    print(f"Seconds of an utterance, encoder left out: median (least … most); {circumstances(options)}")
    if HALF in rivals.workers and not bf16_units():
        print("This processor has no units for bf16: those rows are slow here, and say nothing.")
    rows = [row for name in options.rows for row in measured(options, rivals, name)]
    rivals.close()
    return rows


def measured(options: argparse.Namespace, rivals: Contest, row: str) -> list[Row]:
    """One row: its lines on the screen, and for `--json`."""
    case = sized(options, ROWS[row])
    return report(row, case, taken_in_turns(rivals, contestants_of(case), case, options.rounds))


def contestants_of(case: Case) -> list[str]:
    """Who takes part in a row, whom ours is compared with first."""
    if case.mode == "ctc_prefix":
        return [LOOP, PREFIX]
    return [ESPNET, *([SPEECHBRAIN] if case.batch <= 8 else []), OURS, *([HALF] if case.mode == "joint" else [])]


def report(row: str, case: Case, answers: dict[str, list[Row]]) -> list[Row]:
    """Print what each contestant took, and how many times as fast ours is where the texts are the same."""
    found = medians(answers, "seconds")
    texts = {name: gathered(given) for name, given in answers.items()}
    print(f"\n{row}: {case.mode}, V {case.units}, batch {case.batch}, beam {case.beam}, {case.seconds:g} s")
    rows: list[Row] = []
    other = LOOP if case.mode == "ctc_prefix" else ESPNET
    for name, (middle, least, most) in found.items():
        line = f"  {name:18} {middle:8.4f} ({least:.4f} … {most:.4f})"
        if name == SPEECHBRAIN:
            line += "  weights of its own"
            if OURS in found:
                rows.append(other_weights(row, found[OURS][0], middle))
        elif name != other and other in found:
            one, said = against(row, name, case, middle, found[other][0], compare(texts[name], texts[other]))
            if name == HALF and OURS in texts:
                said += f"; against float32: {compare(texts[name], texts[OURS])}"
            rows.append(one)
            line += said
        print(line, flush=True)
    return rows


def against(row: str, name: str, case: Case, ours: float, other: float, verdict: Verdict) -> tuple[Row, str]:
    """A line of `--json` and what is said on the screen; bf16 has a ratio in any case, and its texts are counted."""
    what = row if name != HALF else row.replace("_b", "_bf16_b") if "_b" in row else f"{row}, bf16"
    found = ratio(what, ours, other, "seconds per utterance") | {"texts": str(verdict)}
    complete = verdict.utterances == case.batch
    if name == HALF or (verdict.same and complete):
        return found, f"  {other / ours:6.2f}x  {verdict}"
    why = "the n-best differ" if complete else f"{verdict.utterances} of {case.batch} utterances compared"
    return found | {"ratio": None, "why": why}, f"  no ratio: {why}; {verdict}"


def other_weights(row: str, ours: float, other: float) -> Row:
    """A line of `--json` without a ratio: what was found cannot be compared."""
    found = ratio(f"{row} beside {SPEECHBRAIN}", ours, other, "seconds per utterance")
    return found | {"ratio": None, "why": "weights of its own"}


def parts(options: argparse.Namespace) -> list[Row]:
    """What the cached decoder and the prefix scorer bring, each alone, in `joint_b8`."""
    case = sized(options, ROWS["joint_b8"])
    rivals = contest(options, [OURS, *PLAIN])
    print(f"joint_b8, seconds of an utterance: median (least … most); {circumstances(options)}")
    answers = taken_in_turns(rivals, list(rivals.workers), case, options.rounds)
    rivals.close()
    found = medians(answers, "seconds")
    texts = {name: gathered(given) for name, given in answers.items()}
    rows: list[Row] = []
    for name, (middle, least, most) in found.items():
        line = f"  {name:20} {middle:8.4f} ({least:.4f} … {most:.4f})"
        if name != OURS and OURS in found:
            what = f"parts: ours against {name}"
            row, said = against(what, OURS, case, found[OURS][0], middle, compare(texts[OURS], texts[name]))
            rows.append(row)
            line += said
        print(line)
    return rows


def plot(options: argparse.Namespace) -> list[Row]:
    """Cost against beam, batch, length of the audio and vocabulary: measured, drawn, and kept as numbers."""
    names = {line.worker for _, _, passing in places() for line in passing.values()}
    rivals = contest(options, [name for name in SEARCHERS if name in names])
    points: list[Point] = []
    rows: list[Row] = []
    for panel, x, passing in places():
        for mode in ("joint", "joint_full"):
            lines = {line.worker: name for name, line in passing.items() if line.mode == mode}
            case = sized(options, case_at(panel, x, mode))
            answers = taken_in_turns(rivals, list(lines), case, options.rounds, shares=case.batch)
            points += [
                Point(panel, lines[worker], x, seconds) for worker, seconds in medians(answers, "seconds").items()
            ]
            rows += report(f"{mode} at {panel} {x:g}", case, answers)
    rivals.close()
    command = f"tools/benchmarks/bench_decoding.py plot --rounds {options.rounds}" + " --realtime" * options.realtime
    title = f"Joint search; unless the axis says otherwise: beam 10, batch 8, 10 s, V 500 ({circumstances(options)})"
    options.out.mkdir(parents=True, exist_ok=True)
    draw(points, [options.out / f"decoding_cost.{kind}" for kind in ("svg", "png")], title=title, command=command)
    return rows


def gpu(options: argparse.Namespace) -> list[Row]:
    """The joint search on a GPU, batch by batch."""
    if not torch.cuda.is_available():
        raise SystemExit("gpu: torch sees no GPU here (torch.cuda.is_available() is False)")
    options.device = "cuda"
    rivals = contest(options, [ESPNET, OURS, HALF])
    print(f"{torch.cuda.get_device_name()}, seconds of an utterance; {circumstances(options)}")
    rows: list[Row] = []
    for batch in GPU_BATCHES:
        case = sized(options, Case("joint", batch=batch))
        name = f"gpu_joint_b{batch}"
        rows += report(name, case, taken_in_turns(rivals, list(rivals.workers), case, options.rounds))
    rivals.close()
    return rows


def bf16_units() -> bool:
    """Whether this processor multiplies bfloat16 itself."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="ascii", errors="replace") if cpuinfo.is_file() else ""
    return any(flag in text for flag in ("avx512_bf16", "amx_bf16", " bf16"))


if __name__ == "__main__":
    sys.exit(main())
