"""Characters as units: any script, nothing to choose."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from hybrid_asr.config.schema import config
from hybrid_asr.text.labels import LabelIds, TokenizerError, split_tags
from hybrid_asr.text.normalize import normalize
from hybrid_asr.text.tags import Tags


@config
class CharTokenizerConfig:
    """One unit for each character of the training text."""

    kind: Literal["char"] = "char"


class CharTokenizer(LabelIds):
    """Units are Unicode code points of NFC text; the space between words is one, if the training text has it.

    A tag such as [noise] is one unit, too, where training keeps tags.

    Code points, not grapheme clusters: Thai vowel signs, Indic marks and the parts of an emoji are units of their own,
    so that the set of units stays small and unseen combinations can be written.
    """

    def __init__(self, characters: Sequence[str]) -> None:
        assert len(set(characters)) == len(characters), "units are unique"
        super().__init__(characters)
        self.characters = tuple(characters)
        self.tags = frozenset(unit for unit in characters if len(unit) > 1)
        self._labels = {character: label for label, character in enumerate(characters, start=self.first_unit)}

    @classmethod
    def train(cls, texts: Iterable[str], *, tags: Tags = "drop") -> "CharTokenizer":
        """Collect the characters of `texts`, in the order of their code points; TokenizerError if there are none."""
        split = split_tags if tags == "keep" else list
        characters: set[str] = set()
        for text in texts:
            characters.update(split(normalize(text, "none@1")))
        if not characters:
            raise TokenizerError("the training text is empty: a tokenizer needs transcripts to learn from")
        return cls(sorted(characters))

    def encode(self, text: str) -> list[int]:
        """The label of each character; `unk` for those that `missing` names."""
        return [self._labels.get(character, self.unk) for character in self._split(text)]

    def missing(self, text: str) -> set[str]:
        """The characters of `text` that are no unit."""
        return set(self._split(text)).difference(self._labels)

    def _split(self, text: str) -> list[str]:
        text = normalize(text, "none@1")
        return split_tags(text) if self.tags else list(text)

    def state(self) -> dict[str, Any]:
        """All that `restore_tokenizer` needs, in plain containers."""
        return {"kind": "char", "characters": list(self.characters)}
