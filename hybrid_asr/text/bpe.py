"""Byte-pair units by sentencepiece (Sennrich et al., 2016; Kudo and Richardson, 2018)."""

import io
import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain, islice
from typing import Annotated, Any, Literal

import numpy as np
import sentencepiece
import torch
from pydantic import Field

from hybrid_asr.config.schema import config
from hybrid_asr.text.labels import LabelIds, TokenizerError
from hybrid_asr.text.normalize import normalize
from hybrid_asr.text.tags import KEPT, Tags, kept_tags

_SPACE = "\u2581"  # sentencepiece writes a space so
_FOREIGN = "\u2585"  # and stands this for characters it does not know; it is never a unit
_RESERVED = frozenset({_SPACE, _FOREIGN, "\0"})
HELD_LINES = 1_000_000
_LONGEST_LINE = 2**30  # bytes; the default drops longer lines without an error
_OWN_IDS = 2  # our vocabulary counts blank and sos/eos, sentencepiece's only its unknown symbol and the units


@config
class BpeTokenizerConfig:
    """Frequent sequences of characters as units."""

    kind: Literal["bpe"] = "bpe"
    size: Annotated[int, Field(ge=4)] = 500  # the whole vocabulary: blank, unknown, units, sos/eos


class BpeTokenizer(LabelIds):
    """Units are the pieces of a sentencepiece model, in its order; all characters of the training text are among them.

    Text reaches sentencepiece in NFC and is not changed by it (its own default, NFKC, would rewrite some).
    """

    def __init__(self, model: bytes) -> None:
        try:
            processor = sentencepiece.SentencePieceProcessor()
            processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise TokenizerError(
                "tokenizer.model: the stored sentencepiece model is damaged; take the file from its source again"
            ) from error
        self.model = model
        self._processor = processor
        ids = [i for i in range(processor.vocab_size()) if not (processor.IsUnknown(i) or processor.IsControl(i))]
        units = [processor.IdToPiece(i).replace(_SPACE, " ") for i in ids]
        super().__init__(units)
        self._labels = {i: label for label, i in enumerate(ids, start=self.first_unit)}
        self._units = units
        tags = frozenset(unit.strip() for unit in units if KEPT.fullmatch(unit.strip()))
        self.tags = tags if "[" not in units else frozenset()  # else pieces of ordinary text
        self._characters = set().union(*units)

    @classmethod
    def train(cls, texts: Iterable[str], *, size: int, tags: Tags = "drop", held: int = HELD_LINES) -> "BpeTokenizer":
        """Learn a vocabulary of `size` labels from `texts` alone; equal texts give an equal model.

        No unit reaches beyond a word: of more than `held` texts only the words are held, counted. The units are equal.
        Where training keeps tags, each is one unit, with the space before it.
        Raises TokenizerError, with the nearest size that would do, where the text does not support `size`.
        """
        others = (line for line in (normalize(text, "none@1") for text in texts) if line)
        lines = list(islice(others, held))
        if not lines:
            raise TokenizerError("the training text is empty: a tokenizer needs transcripts to learn from")
        words = _counted_words(chain(lines, others)) if len(lines) == held else None
        _refuse_reserved(lines if words is None else words)
        has_spaces = any(" " in line for line in lines)
        kept = kept_tags(lines if words is None else words.elements()) if tags == "keep" else []
        model = io.BytesIO()
        counted: dict[str, Any] = {} if words is None else {"input_format": "tsv"}
        try:
            sentencepiece.SentencePieceTrainer.Train(
                sentence_iterator=iter(lines) if words is None else (f"{word}\t{words[word]}" for word in words),
                **counted,
                model_writer=model,
                model_type="bpe",
                vocab_size=size - _OWN_IDS,
                character_coverage=1.0,
                normalization_rule_name="identity",
                user_defined_symbols=[(_SPACE if has_spaces else "") + tag for tag in kept],
                remove_extra_whitespaces=False,  # done already
                add_dummy_prefix=has_spaces,  # so that a word is the same units at the start as within a sentence
                max_sentence_length=_LONGEST_LINE,
                unk_id=0,
                bos_id=-1,
                eos_id=-1,
                pad_id=-1,
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise _unsupported(size, str(error)) from error
        return cls(model.getvalue())

    def encode(self, text: str) -> list[int]:
        """The labels of `text`; `unk` for (runs of) characters that `missing` names."""
        text = self._without(normalize(text, "none@1"), _FOREIGN)
        foreign = set(text) - self._characters
        if foreign:
            text = text.translate({ord(character): _FOREIGN for character in foreign})
        return [self._labels.get(i, self.unk) for i in self._processor.EncodeAsIds(text)]

    def missing(self, text: str) -> set[str]:
        """The characters of `text` that no unit holds."""
        text = normalize(text, "none@1")
        unknown = set(KEPT.findall(text)) - self.tags if self.tags else set[str]()
        return unknown | (set(self._without(text, "")) - self._characters)

    def _without(self, text: str, replacement: str) -> str:
        """The text with other tags than those of the training text replaced."""
        if not self.tags or "[" not in text:
            return text
        return KEPT.sub(lambda found: found[0] if found[0] in self.tags else replacement, text)

    def units(self) -> list[str]:
        """The pieces as sentencepiece writes them, in the order of their labels."""
        return [text.replace(" ", _SPACE) for text in self._units]

    def state(self) -> dict[str, Any]:
        """All that `restore_tokenizer` needs: sentencepiece's model as a tensor of bytes."""
        return {"kind": "bpe", "model": torch.from_numpy(np.frombuffer(self.model, dtype=np.uint8).copy())}


def _counted_words(lines: Iterable[str]) -> Counter[str]:
    words = Counter[str]()
    for line in lines:
        words.update(line.split(" "))
    return words


def _refuse_reserved(lines: Iterable[str]) -> None:
    """Raise for what sentencepiece would drop or rewrite without a word."""
    for line in lines:
        reserved = _RESERVED.intersection(line)
        if reserved:
            names = ", ".join(f"U+{ord(character):04X}" for character in sorted(reserved))
            raise TokenizerError(
                f"transcript '{line[:60]}' holds {names}, which sentencepiece keeps for itself; "
                "remove it, with the rules 'basic@2' for example, or use the tokenizer kind 'char'"
            )


def _unsupported(size: int, message: str) -> TokenizerError:
    """Sentencepiece's refusal in our counting of sizes."""
    largest = re.search(r"value <= (\d+)", message)
    smallest = re.search(r"required_chars\. \d+ vs (\d+)", message)
    if largest:
        remedy = f"the training text supports at most {int(largest[1]) + _OWN_IDS}"
    elif smallest:
        remedy = f"the training text has so many characters that it needs at least {int(smallest[1]) + _OWN_IDS}"
    else:
        return TokenizerError(f"sentencepiece cannot learn from the training text: {message}")
    return TokenizerError(f"a BPE vocabulary of {size} is not possible: {remedy}; set tokenizer.size to fit")
