"""The one table of decodings that `hybrid-asr decode` prints."""

from collections.abc import Mapping

from hybrid_asr.inference.report import DecodingReport
from hybrid_asr.inference.short import SHARE
from hybrid_asr.scoring.intervals import Interval

SHORT = f"texts with less than {SHARE:.0%} of the labels that CTC, or the slowest speech of training, lets expect"


def table(reports: Mapping[str, DecodingReport]) -> str:
    """One line a decoding, for people; less than 160 columns where names have fewer than 30 characters."""
    width = max(map(len, reports))
    rates = "  ".join(f"{name + ' %':>6} {'95 %':^11}" for name in ("WER", "CER", "SER"))
    odd = f"{'cut':>4} {'empty':>5} {'short':>5} {'loop':>4} {'fail':>4}"
    head = f"{'':{width}}  {rates}  {'sub':>5} {'del':>5} {'ins':>5}  {'oracle':>6} {'missed':>6}"
    lines = [f"{head}  {odd}  {'RTF':>7} {'peak MB':>7}"]
    lines += [f"{name:{width}}  {_cells(report)}" for name, report in reports.items()]
    return "\n".join([*lines, *_notes(reports)])


def _cells(report: DecodingReport) -> str:
    scores, words, statistics = report.scores, report.scores.words, report.statistics
    rates = "  ".join(f"{100 * rate.value:6.2f} {_interval(rate.leading)}" for rate in scores.rates.values())
    edits = f"{words.substitutions:5} {words.deletions:5} {words.insertions:5}"
    oracle = statistics.oracle(scores.metric)
    best = f"{_or_dash(None if oracle is None else f'{100 * oracle:.2f}'):>6} {_or_dash(statistics.search_errors):>6}"
    short = _or_dash(None if statistics.short is None else len(statistics.short))
    odd = f"{statistics.cut:4} {scores.empty:5} {short:>5} {_or_dash(statistics.looping):>4} {len(statistics.failed):4}"
    peak, rtf = statistics.peak_bytes, statistics.search_rtf
    speed = _or_dash(None if rtf is None else f"{rtf:.4f}")
    return f"{rates}  {edits}  {best}  {odd}  {speed:>7} {_or_dash(None if peak is None else round(peak / 1e6)):>7}"


def _interval(ci95: Interval | None) -> str:
    return f"{'–':^11}" if ci95 is None else f"{100 * ci95.low:5.1f}–{100 * ci95.high:<5.1f}"


def _or_dash(value: int | str | None) -> str:
    return "–" if value is None else str(value)


def _notes(reports: Mapping[str, DecodingReport]) -> list[str]:
    """Explanations of the columns, one a line."""
    statistics = [report.statistics for report in reports.values()]
    encode_rtfs = [decoding.encode_rtf for decoding in statistics if decoding.encode_rtf is not None]
    factors = sorted({f"{factor:.4f}" for factor in encode_rtfs}) or ["–"]
    span = factors[0] if len(factors) == 1 else f"{factors[0]} to {factors[-1]}"
    notes = [f"RTF: of the search alone; features and encoder take {span}, once for all decoders of a pass."]
    most = max(decoding.nbest for decoding in statistics)
    if most > 1:
        notes.append(f"oracle: the error rate of the best of up to {most} texts of each utterance.")
    if any(decoding.search_errors is not None for decoding in statistics):
        notes.append("missed: utterances of which twice the beam finds a hypothesis with a better score.")
    if any(decoding.short for decoding in statistics):
        notes.append(f"short: {SHORT}; their ids are in report.txt and report.json.")
    return notes
