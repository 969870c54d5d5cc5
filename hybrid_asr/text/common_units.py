"""Units that two tokenizers have in common, when one model starts from another's weights; and why they are few."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from hybrid_asr.common.problems import examples
from hybrid_asr.text.tokenizer import Tokenizer

FEW = 0.5  # a share of the units that are not special below which a model has hardly anything to start from
SPECIAL = 3  # blank, unknown, and the one for both ends of a sentence
_ENCODER_ALONE = "init.parts=[encoder] takes the encoder alone"


class CommonUnits(NamedTuple):
    """Pairs of labels (ours, theirs) that stand for the same text, the special ones among them; and the other units.

    `size` counts our labels; `new` are the texts of units that only we have, `lost` of those that only they have.
    """

    pairs: list[tuple[int, int]]
    size: int
    new: list[str]
    lost: list[str]

    @property
    def are_few(self) -> bool:
        """Whether most of our units begin fresh."""
        return len(self.new) > (1 - FEW) * (self.size - SPECIAL)

    def text(self) -> str:
        """How many are taken, which begin fresh and which are not used."""
        parts = [f"{len(self.pairs)} of {self.size} units are taken by their text, the {SPECIAL} special ones counted"]
        if self.new:
            parts.append(f"new are {_shown(self.new)}")
        if self.lost:
            parts.append(f"not used are {_shown(self.lost)}")
        return "; ".join(parts)


def common_units(ours: Tokenizer, theirs: Tokenizer) -> CommonUnits:
    """Compare two tokenizers unit by unit; the special ones are always common."""
    special = [(ours.blank, theirs.blank), (ours.unk, theirs.unk), (ours.eos, theirs.eos)]
    label_of = {text: label for label, text in _units(theirs)}
    own = _units(ours)
    pairs = special + [(label, label_of[text]) for label, text in own if text in label_of]
    texts = {text for _, text in own}
    new = [text for _, text in own if text not in label_of]
    return CommonUnits(pairs, ours.vocab_size, new, [text for text in label_of if text not in texts])


def why_few(units: CommonUnits, ours: tuple[Tokenizer, str], theirs: tuple[Tokenizer, str]) -> str:
    """The likely cause that few units are common, with the remedy; each side is a tokenizer and its text.rules."""
    kinds = [tokenizer.state()["kind"] for tokenizer, _ in (ours, theirs)]
    spelled = f"text.rules={theirs[1]} spells as that run does"
    if kinds[0] != kinds[1]:
        return f"the tokenizers differ, '{kinds[0]}' here and '{kinds[1]}' there: choose that kind, or {_ENCODER_ALONE}"
    folded = {text.casefold() for text in units.lost}
    if 2 * sum(text.casefold() in folded for text in units.new) > len(units.new):
        if ours[1] == theirs[1]:
            return f"they differ in upper and lower case only: spell the transcripts alike, or {_ENCODER_ALONE}"
        return f"they differ in upper and lower case only: {spelled} (here {ours[1]})"
    scripts = [_script(texts) for texts in (units.new, units.lost)]
    if None not in scripts and scripts[0] != scripts[1]:
        return f"the scripts differ, {scripts[0]} here and {scripts[1]} there: {_ENCODER_ALONE}"
    if kinds[0] == "bpe":
        return f"pieces were learned of other texts: {_ENCODER_ALONE}"
    if ours[1] != theirs[1]:
        return f"the transcripts are spelled by other rules: {spelled} (here {ours[1]})"
    return f"the transcripts have other characters: {_ENCODER_ALONE}"


def _units(tokenizer: Tokenizer) -> list[tuple[int, str]]:
    """Labels that are not special, with their texts; an imported model may have special ones between them."""
    special = {tokenizer.blank, tokenizer.unk, tokenizer.sos, tokenizer.eos}
    return [(label, tokenizer.pieces([label])[0]) for label in range(tokenizer.vocab_size) if label not in special]


def _script(texts: Iterable[str]) -> str | None:
    """The script of most letters, as Unicode names them (LATIN, CYRILLIC, CJK); None where there is no letter."""
    letters = [letter for text in texts for letter in text if letter.isalpha()]
    names = Counter(unicodedata.name(letter, "UNNAMED").split()[0] for letter in letters)
    return names.most_common(1)[0][0] if names else None


def _shown(texts: list[str]) -> str:
    return examples([repr(text) for text in sorted(texts)])
