"""Units that another toolkit chose: a list of tokens with their ids, and how they are joined to text."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import sentencepiece
import torch

from hybrid_asr.config.schema import config
from hybrid_asr.text.labels import UNKNOWN_TEXT, LabelTexts, TokenizerError, Writes
from hybrid_asr.text.normalize import normalize
from hybrid_asr.text.tags import KEPT

Joins = Literal["characters", "words", "pieces"]
SPACE = "<space>"
_WORD_START = "\u2581"  # sentencepiece writes a space so


@config
class TokenListConfig:
    """The units of an imported model. They are not learned from texts: such a model brings them along."""

    kind: Literal["token_list"] = "token_list"
    joins: Joins = "characters"


class TokenListTokenizer(LabelTexts):
    """Units in the order of a foreign list, which says where blank, unknown and sos = eos are.

    `characters`: tokens stand side by side, `<space>` for a space. `words`: a space stands between them. `pieces`:
    those of a sentencepiece model, which splits new texts.
    """

    writes: Writes = "text"

    def __init__(
        self, tokens: Sequence[Any], *, joins: Joins, blank: int, unk: int, sos: int, model: bytes | None = None
    ) -> None:
        self.tokens = tuple(tokens)
        self.joins: Joins = joins
        self.blank, self.unk, self.sos, self.eos = blank, unk, sos, sos
        self.vocab_size = len(self.tokens)
        self.model = model
        self._check()
        special = {blank, unk, sos}
        self._texts = [self._text(label, token) for label, token in enumerate(self.tokens)]
        self._labels = {token: label for label, token in enumerate(self.tokens) if label not in special}
        self.tags = frozenset(token for token in self._labels if "[" not in self._labels and KEPT.fullmatch(token))
        long = sorted((token for token in self._labels if len(token) > 1 and token != SPACE), key=len, reverse=True)
        self._split = re.compile("|".join([*map(re.escape, long), "."]), re.DOTALL)
        self._processor = sentencepiece.SentencePieceProcessor()
        if model is not None:
            try:
                self._processor.LoadFromSerializedProto(model)
            except RuntimeError as error:
                raise TokenizerError("the sentencepiece model is damaged; take it from its source again") from error

    def encode(self, text: str) -> list[int]:
        """The labels of `text`; `unk` for what no token stands for."""
        return [self._labels.get(token, self.unk) for token in self._tokens(normalize(text, "none@1"))]

    def missing(self, text: str) -> set[str]:
        """The characters of `text` that no token stands for; of words, those of the unknown ones."""
        text = normalize(text, "none@1")
        tags = set(KEPT.findall(text)) - self.tags if self.tags else set[str]()
        for tag in tags:
            text = text.replace(tag, "")
        unknown = [token for token in self._tokens(text) if token not in self._labels]
        return tags | set("".join(unknown).replace(SPACE, " ").replace(_WORD_START, ""))

    def state(self) -> dict[str, Any]:
        """All that `restore_tokenizer` needs, in plain containers."""
        bytes_ = None if self.model is None else torch.from_numpy(np.frombuffer(self.model, dtype=np.uint8).copy())
        return {
            **{"kind": "token_list", "tokens": list(self.tokens), "joins": self.joins, "model": bytes_},
            **{"blank": self.blank, "unk": self.unk, "sos": self.sos},
        }

    def _tokens(self, text: str) -> list[str]:
        """`text` as tokens, unknown ones among them."""
        match self.joins:
            case "characters":
                return [SPACE if token == " " else token for token in self._split.findall(text)]
            case "words":
                return text.split()
            case "pieces":
                return self._processor.EncodeAsPieces(text)

    def _text(self, label: int, token: str) -> str:
        """The text of a label."""
        if label == self.unk:
            return f" {UNKNOWN_TEXT}" if self.joins == "words" else UNKNOWN_TEXT
        if label in (self.blank, self.sos):
            return ""
        match self.joins:
            case "characters":
                return " " if token == SPACE else token
            case "words":
                return f" {token}"
            case "pieces":
                return token.replace(_WORD_START, " ")

    def _check(self) -> None:
        """Raise TokenizerError for what cannot be a list of tokens with these ids."""
        for label, token in enumerate(self.tokens):
            if not isinstance(token, str) or not token:
                raise TokenizerError(f"token {label} of the list is {token!r}; expected a text")
        repeated = [token for token, count in Counter(self.tokens).items() if count > 1][:3]
        if repeated:
            raise TokenizerError(f"the list of tokens holds {', '.join(repeated)} more than once")
        ids = (self.blank, self.unk, self.sos)
        if not all(0 <= i < self.vocab_size for i in ids) or len(set(ids)) < len(ids):
            raise TokenizerError(f"blank, unknown and sos {ids} should be three of the {self.vocab_size} tokens")
        if (self.joins == "pieces") != (self.model is not None):
            raise TokenizerError(f"tokens joined as {self.joins!r}; pieces, and only they, need a sentencepiece model")
