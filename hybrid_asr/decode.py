"""`hybrid-asr decode`: sets x decoders of a run, to hypotheses and reports; what is still valid stays."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from hybrid_asr import __version__
from hybrid_asr.config.compose import amend, digest
from hybrid_asr.config.files import load_yaml
from hybrid_asr.config.locate import find_preset
from hybrid_asr.config.schema import field_types, parse, plain
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.decoding.build import DecodeConfig, serves
from hybrid_asr.errors import UserError
from hybrid_asr.evaluation import Decoded, Evaluation, decoder_for, evaluate, pick_device
from hybrid_asr.files import remove_unfinished, why_unreadable, write_text
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.hybrid import HybridModel
from hybrid_asr.pages.run_page import refresh
from hybrid_asr.run import Run, RunConfig, deciding, set_paths
from hybrid_asr.scoring.report import ErrorReport, Scored, report

_LARGEST = 1 << 30  # bytes of a report
BATCH_S = 120.0  # seconds of audio, with padding, that are decoded at once


def decode_run(
    folder: Path,
    *,
    sets: Sequence[str] = ("test",),
    decoders: Sequence[str] | None = None,
    checkpoint: str = "average",
    overrides: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
    """Decode `sets` with `decoders`; returns the reports by `<set>/<decoder>` and prints one table.

    Raises UserError before anything is decoded: a wrong set, decoder or setting, a model that cannot serve one.
    """
    run = Run(folder)
    cfg = _amended(run.read_config(), [one for one in overrides if not one.startswith("decode.")])
    paths = set_paths(cfg, sets)
    settings_of_decoders = [one for one in overrides if one.startswith("decode.")]
    choose_decoders(plain(cfg), decoders, settings_of_decoders)  # a typo is found before a large model is read
    bundle, weights = run.bundle(checkpoint)
    if decoders is None and (bundle.model.ctc is None or bundle.model.decoder is None):
        decoders = served(bundle.model)
    chosen = choose_decoders(plain(cfg), decoders, settings_of_decoders)
    for settings in chosen.values():
        serves(settings, bundle.model)
    manifests = {name: Manifest.read(path, audio=cfg.data.audio) for name, path in paths.items()}
    foreign = _foreign(manifests, set_paths(run.read_config(), ("train", "valid", "test")))
    device = pick_device("auto" if cfg.trainer.accelerator != "cpu" else "cpu")
    bundle.frontend.to(device).eval()
    bundle.model.to(device).eval()
    if cfg.trainer.threads:
        torch.set_num_threads(cfg.trainer.threads)
    reports = {}
    for set_name, manifest in manifests.items():
        data = [manifest.digest, bundle.text.rules, cfg.metric, __version__]
        for name, settings in chosen.items():
            bare = settings == load_decoder(name, plain(cfg)) and checkpoint == "average" and set_name not in foreign
            told = [plain(settings), checkpoint, *foreign.get(set_name, [])]
            label = name if bare else f"{name}-{digest(told)[:8]}"
            place = run.folder / "decode" / set_name / label
            signatures = {"decoding": digest([plain(settings), weights, *data]), "weights": weights}
            found = earlier_report(place, signatures)
            if found is None:
                found = _decode_one(bundle, settings, manifest, device, place, signatures, cfg.metric)
            reports[f"{set_name}/{label}"] = found
    print(table(reports))
    refresh(run)
    return reports


def _foreign(manifests: Mapping[str, Manifest], own: Mapping[str, Path]) -> dict[str, list[str]]:
    """The digests of sets that are others than the run's own of these names: their results have a place of their own.

    Where the run's own set is not there any more, as on another machine, the given one is taken for it.
    """
    digests = {name: file_digest(path) for name, path in own.items() if name in manifests and path.is_file()}
    return {
        name: [manifest.digest]
        for name, manifest in manifests.items()
        if digests.get(name, manifest.digest) != manifest.digest
    }


def file_digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _amended(cfg: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """The run's configuration with changes of what decides no weight."""
    decides = deciding(plain(cfg))
    for override in overrides:
        key = override.partition("=")[0]
        if any(f"{path}.".startswith(f"{key}.") for path in decides):
            raise UserError(
                f"{key}: decides the weights of the run, it cannot be changed when decoding; decode.* and data.test can"
            )
    return amend(plain(cfg), overrides, source="the run").parse(RunConfig) if overrides else cfg


def choose_decoders(
    config: dict[str, Any], names: Sequence[str] | None, overrides: Sequence[str]
) -> dict[str, DecodeConfig]:
    """The settings of each named decoder; an override goes to those that know its key, and at least one must."""
    names = names or [config["presets"].get("decode", "joint")]
    known = {name: set(field_types(type(load_decoder(name, config)))) for name in names}
    chosen = {}
    for name in names:
        foreign = [
            one
            for one in overrides
            if one.partition("=")[0].removeprefix("decode.") not in known[name]
            and any(one.partition("=")[0].removeprefix("decode.") in keys for keys in known.values())
        ]
        chosen[name] = load_decoder(name, config, [one for one in overrides if one not in foreign])
    return chosen


def load_decoder(name: str, config: dict[str, Any], overrides: Sequence[str] = ()) -> DecodeConfig:
    """The settings of a preset of conf/decode; of the recipe's own decoder those that the recipe gives."""
    own = config["presets"].get("decode", "joint") == name
    tree = config["decode"] if own else load_yaml(find_preset("decode", name))
    composed = amend({"decode": tree}, overrides, source="the run")
    return parse(DecodeConfig, composed.tree["decode"], where="decode")


def valid_decoder(wanted: Literal["auto", "ctc_greedy", "attention", "joint"], model: HybridModel) -> str:
    """The decoder of the validation set: `auto` is the cheapest that the model serves."""
    if wanted != "auto":
        return wanted
    return "ctc_greedy" if model.ctc is not None else "attention"


def served(model: HybridModel) -> list[str]:
    """The presets of conf/decode to compare for a model: both heads alone and together, as far as it has them."""
    if model.ctc is None or model.decoder is None:
        return [valid_decoder("auto", model)]
    return ["ctc_greedy", "attention", "joint"]


def score_items(items: Sequence[Decoded], metric: Literal["wer", "cer"]) -> ErrorReport:
    """Error rates of decoded utterances."""
    return report([Scored(item.id, item.reference, item.text, item.speaker) for item in items], metric=metric)


def earlier_report(place: Path, signatures: Mapping[str, str]) -> dict[str, Any] | None:
    """The report of an earlier decoding with the same settings, model and data, if both files are as written."""
    if any(
        why_unreadable(place / name, largest=_LARGEST) for name in ("report.json", "hypotheses.jsonl", "report.txt")
    ):
        return None
    try:
        found = json.loads((place / "report.json").read_text(encoding="utf-8"))
        if not isinstance(found, dict) or found.get("signatures") != signatures:
            return None
        as_written = found.get("digest") == digest({key: value for key, value in found.items() if key != "digest"})
    except (ValueError, RecursionError):  # not JSON, or a number that JSON does not have
        return None
    if not as_written:
        print(f"{place}/report.json: is not as it was written, decoded again", file=sys.stderr)
        return None
    whole = found.get("hypotheses_sha256") == file_digest(place / "hypotheses.jsonl")
    if not whole:
        print(f"{place}/hypotheses.jsonl: does not match its report, decoded again", file=sys.stderr)
    return found if whole else None


def _decode_one(
    bundle: Bundle,
    settings: DecodeConfig,
    manifest: Manifest,
    device: torch.device,
    place: Path,
    signatures: dict[str, str],
    metric: Literal["wer", "cer"],
) -> dict[str, Any]:
    """Decode a set with one decoder and write hypotheses, then the report that vouches for them."""
    found = evaluate(bundle, decoder_for(bundle, settings), manifest, device=device, batch_seconds=BATCH_S)
    scores = score_items(found.items, metric)
    content = scores.to_json() | usage(found) | {"decoder": plain(settings), "signatures": signatures}
    (place / "report.json").unlink(missing_ok=True)
    remove_unfinished(place)
    write_text(place / "hypotheses.jsonl", "".join(hypothesis_line(item) for item in found.items))
    content["hypotheses_sha256"] = file_digest(place / "hypotheses.jsonl")
    content["digest"] = digest(content)
    write_text(place / "report.txt", scores.text() + "\n")
    write_text(place / "report.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return content


def hypothesis_line(item: Decoded) -> str:
    """One line of hypotheses.jsonl."""
    row = {"id": item.id, "reference": item.reference, "text": item.text, "score": item.score, "parts": item.parts}
    if item.speaker is not None:
        row["speaker"] = item.speaker
    return json.dumps(row | {"ended": item.ended}, ensure_ascii=False) + "\n"


def usage(found: Evaluation) -> dict[str, Any]:
    """Time and oddities: outputs that are empty, and such as the bound on length has cut."""
    audio_s = sum(item.audio_s for item in found.items)
    return {
        "audio_s": audio_s,
        "decode_s": found.decode_s,
        "rtf": found.decode_s / audio_s,
        "cut": sum(item.ended == "cut" for item in found.items),
        "empty": sum(not item.text for item in found.items),
    }


def table(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a decoding, for people."""
    width = max(map(len, reports))
    lines = [
        f"{'':{width}}  {'WER %':>6}  {'95 %':^13}  {'CER %':>6}  {'SER %':>6}  "
        f"{'sub':>5} {'del':>5} {'ins':>5}  {'cut':>4} {'empty':>5}  {'RTF':>6}"
    ]
    for name, found in reports.items():
        low, high = found["wer_ci95"] or (float("nan"), float("nan"))
        rates = f"{100 * found['wer']:6.2f}  {100 * low:5.2f} … {100 * high:5.2f}  {100 * found['cer']:6.2f}"
        edits = f"{found['substitutions']:5} {found['deletions']:5} {found['insertions']:5}"
        odd = f"{found['cut']:4} {found['empty']:5}"
        lines.append(f"{name:{width}}  {rates}  {100 * found['ser']:6.2f}  {edits}  {odd}  {found['rtf']:6.3f}")
    return "\n".join(lines)
