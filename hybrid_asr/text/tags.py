"""Tags of transcripts: what is no word but a note about the audio, such as [noise], <unk>, (laughter) or {breath}.

Corpora mark them in many ways: [noise] (Switchboard), <unk> (Kaldi), <COMMA> (GigaSpeech), {SMACK} (TED-LIUM),
++breath++ (Sphinx), %hesitation, !SIL. In square, angle and curly brackets any short name is one. Words in parentheses
are often spoken, so there only known names are; and of ((words)), as LDC marks what was hard to hear, the words stay.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from hybrid_asr.text.lookalikes import drop_dots_over_i

Tags = Literal["drop", "keep", "refuse"]

_NAME = r"/?[^\W\d_][\w'’./:+-]*(?: [\w'’./:+-]+){0,3}/?"
_SOUNDS = (
    "applause|background|blow|breath|click|cough|cross ?talk|cry|foreign|gasp|giggle|groan|grunt|hesitat|hiss|"
    "inaudible|inhal|exhal|indistinct|laugh|laughter|lip ?smack|mouth|music|noise|overlap|pause|scream|sigh|silence|"
    "sniff|sneeze|sob|speaking|swallow|clears? throat|clearing throat|throat|unclear|unintelligible|unk|"
    "vocali[sz]ed|whisper|whistl|yawn"
)
TAG = re.compile(
    rf"\[\[ ?(?:{_NAME}) ?\]\]|\[ ?(?:{_NAME}) ?\]|<(?:{_NAME})>|\{{ ?(?:{_NAME}) ?\}}"
    rf"|(?<!\()\( ?(?=(?i:{_SOUNDS})(?:e|s|es|ed|ing|ion)?\b)(?:{_NAME}) ?\)(?!\))"
    r"|\+\+[^\W\d_]\w*\+\+|(?<!\S)%(?i:hesitation)\b|(?<!\S)!(?i:sil)\b"
)
KEPT = re.compile(r"\[[^\[\]\s]+\]")
"""A tag as `spell_tag` writes it; no other word has brackets."""

_EDGES = "[]<>{}()+%!/ "
_GAPS = re.compile(r"[\s_]+")


def find_tags(text: str) -> list[str]:
    """The tags of a transcript, as they are written there."""
    return TAG.findall(text) if _may_hold_tags(text) else []


def spell_tag(tag: str) -> str:
    """The one spelling of a tag, a single word: `[noise]` of <NOISE> and (noise), `[door_slam]` of {door slam}."""
    name = drop_dots_over_i(unicodedata.normalize("NFC", tag.strip(_EDGES).lower()))
    return f"[{'_'.join(filter(None, _GAPS.split(name)))}]"


def without_tags(text: str) -> str:
    """The text with a space in the place of each tag."""
    return TAG.sub(" ", text) if _may_hold_tags(text) else text


def parts_and_tags(text: str) -> list[tuple[str, str]]:
    """The text as pairs: what stands before a tag, and this tag as `spell_tag` writes it; "" behind the last one."""
    pairs, end = [], 0
    for match in TAG.finditer(text) if _may_hold_tags(text) else ():
        pairs.append((text[end : match.start()], spell_tag(match[0])))
        end = match.end()
    return [*pairs, (text[end:], "")]


def kept_tags(texts: Iterable[str]) -> list[str]:
    """All tags of normalized texts that keep them, the most frequent first."""
    counted = Counter(tag for text in texts if "[" in text for tag in KEPT.findall(text))
    return sorted(counted, key=lambda tag: (-counted[tag], tag))


def _may_hold_tags(text: str) -> bool:
    return "[" in text or "<" in text or "(" in text or "{" in text or "+" in text or "%" in text or "!" in text
