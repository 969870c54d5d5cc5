"""What other toolkits call an utterance, its reference, its hypothesis and its speaker, in JSON lines and in tables."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from hybrid_asr.scoring.formats.source import Source
from hybrid_asr.scoring.scores import ScoringError

IDS = (
    *("id", "utt_id", "utterance_id", "uttid", "utt", "key", "segment_id", "sample_id"),
    *("audio_filepath", "audio_path", "audio", "audio_file", "wav", "path", "file", "file_name", "filename"),
)
REFERENCES = (
    *("reference", "ref", "reference_text", "ref_text", "label", "target", "ground_truth", "truth", "gt"),
    *("reference_transcript", "gold", "text_ref"),
)
HYPOTHESES = (
    *("hypothesis", "hyp", "hyp_text", "hypothesis_text", "pred_text", "prediction", "predicted", "predicted_text"),
    *("pred", "predictions", "rec", "rec_text", "recognized", "asr", "output", "decoded", "text_hyp"),
)
TEXTS = ("text", "transcription", "transcript", "sentence")  # a reference or a hypothesis
SPEAKERS = ("speaker", "spk", "speaker_id", "spk_id", "client_id")

Side = Literal["reference", "hypothesis"]


class Fields(NamedTuple):
    """The fields of a file that hold id, text and speaker, as they are called there."""

    id: str
    text: str
    speaker: str | None


def find_fields(source: Source, names: Iterable[str]) -> Fields:
    """Which of the fields `names` hold what; all others are passed over.

    Raises ScoringError where a file has none, or two that may be the text that is wanted.
    """
    there = list(dict.fromkeys(names))
    source.fields = frozenset(map(_plain, there))
    key = next((name for known in IDS for name in there if _plain(name) == known), None)
    if key is None:
        raise ScoringError(f"{source.path}:1: has no 'id', and no other field that names utterances: {_listed(there)}")
    rest = [name for name in there if name != key]
    speaker = next((name for known in SPEAKERS for name in rest if _plain(name) == known), None)
    return Fields(key, _text_field(source, rest), speaker)


def is_field(name: str) -> bool:
    """Whether a name is known to be that of an id, a text or a speaker."""
    return _plain(name) in {*IDS, *REFERENCES, *HYPOTHESES, *TEXTS, *SPEAKERS}


def is_header(names: Iterable[str]) -> bool:
    """Whether these are the names of fields, among them one of ids and one of texts."""
    there = {_plain(name) for name in names}
    return bool(there & {*IDS}) and bool(there & {*REFERENCES, *HYPOTHESES, *TEXTS})


def look_swapped(first: frozenset[str], second: frozenset[str]) -> bool:
    """Whether `first`, the fields of the references, are those of hypotheses, and `second` those of a manifest.

    Both then hold the same transcripts, and what is scored is none of recognition.
    """
    both = bool(first & {*REFERENCES, *TEXTS}) and bool(first & {*HYPOTHESES})
    both = both or (bool(first & {*REFERENCES}) and bool(first & {*TEXTS}))
    manifest = bool(second & {"audio", "audio_filepath", "wav"}) and bool(second & {"duration", "duration_s"})
    return both and manifest and not second & {*HYPOTHESES, *REFERENCES}


def _text_field(source: Source, there: list[str]) -> str:
    """The field of the wanted text: of its own name, else one of those that may be either side's."""
    if source.chosen_field is not None:
        if source.chosen_field not in there:
            missing = f"has no '{source.chosen_field}', which {source.option('field')} names"
            raise ScoringError(f"{source.path}:1: {missing}: {_listed(there)}")
        return source.chosen_field
    for known in (REFERENCES if source.role == "ref" else HYPOTHESES, TEXTS):
        found = [name for name in there if _plain(name) in known]
        if len(found) > 1:
            side = "reference" if source.role == "ref" else "hypothesis"
            raise ScoringError(
                f"{source.path}:1: the {side} may be {' or '.join(repr(name) for name in found)}; "
                f"say which by {source.option('field')} {found[0]}"
            )
        if found:
            return found[0]
    raise ScoringError(
        f"{source.path}:1: has no 'text', and no other field that is known to hold one: {_listed(there)}; "
        f"name it by {source.option('field')}"
    )


def _plain(name: str) -> str:
    return name.strip().casefold().replace("-", "_").replace(" ", "_")


def _listed(names: list[str]) -> str:
    return f"there are {', '.join(names[:12])}" if names else "there is no other"
