"""Phonemes as units, from a pronunciation lexicon (the traditional baseline)."""

from collections.abc import Iterable
from typing import Any, Literal

from hybrid_asr.config.schema import config
from hybrid_asr.text.labels import UNKNOWN_TEXT, LabelIds, TokenizerError, Writes
from hybrid_asr.text.lexicon import Lexicon, parse_lexicon
from hybrid_asr.text.normalize import normalize


@config
class PhonemeTokenizerConfig:
    """One unit for each phoneme of a `lexicon`, a file below `data.root` or in the current folder."""

    kind: Literal["phoneme"] = "phoneme"
    lexicon: str


class PhonemeTokenizer(LabelIds):
    """Units are the lexicon's phonemes; a text becomes the first pronunciations of its words, one after the other.

    No unit marks the boundary between words, since running speech has none: decoding with the lexicon finds it.
    `decode` gives phonemes with spaces between them, not words. `state` holds the whole lexicon.
    """

    writes: Writes = "phonemes"

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.phonemes = tuple(lexicon.phonemes())
        super().__init__([f" {phoneme}" for phoneme in self.phonemes], unknown=f" {UNKNOWN_TEXT}")
        self._labels = {phoneme: label for label, phoneme in enumerate(self.phonemes, start=self.first_unit)}

    @classmethod
    def train(cls, texts: Iterable[str], lexicon: Lexicon) -> "PhonemeTokenizer":
        """All of the lexicon, whatever the texts hold. Raises TokenizerError where it has no word of them."""
        words = {word for text in texts for word in normalize(text, "none@1").split()}
        if not words:
            raise TokenizerError("the training text is empty: a tokenizer needs transcripts to learn from")
        if words.isdisjoint(lexicon.entries):
            raise TokenizerError(
                f"tokenizer.lexicon has none of the {len(words)} words of the training text, such as "
                f"'{min(words)}', but others, such as '{next(iter(lexicon.entries), '')}'; "
                "give the lexicon of this language, and text.rules that suit both"
            )
        return cls(lexicon)

    def spell(self, pronunciation: Iterable[str]) -> tuple[int, ...] | None:
        """The labels of a pronunciation; None where one of its phonemes is no unit."""
        labels = tuple(self._labels.get(phoneme, self.unk) for phoneme in pronunciation)
        return None if self.unk in labels else labels

    def encode(self, text: str) -> list[int]:
        """The labels of each word's first pronunciation; one `unk` for a word that `missing` names."""
        labels: list[int] = []
        for word in normalize(text, "none@1").split():
            pronunciations = self.lexicon.entries.get(word)
            labels += [self.unk] if pronunciations is None else [self._labels[phoneme] for phoneme in pronunciations[0]]
        return labels

    def missing(self, text: str) -> set[str]:
        """The words of `text` that the lexicon lacks."""
        return {word for word in normalize(text, "none@1").split() if word not in self.lexicon.entries}

    def state(self) -> dict[str, Any]:
        """All that `restore_tokenizer` needs: the lexicon as text."""
        return {"kind": "phoneme", "lexicon": self.lexicon.text()}

    @classmethod
    def restore(cls, text: str) -> "PhonemeTokenizer":
        """The tokenizer of a stored lexicon. Raises LexiconError."""
        return cls(parse_lexicon(text, "tokenizer.lexicon"))
