"""The interface of all tokenizers, the union of their settings, and how they are trained and restored."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Protocol, assert_never, runtime_checkable

import torch
from pydantic import Field

from hybrid_asr.common.files import find_below
from hybrid_asr.text.bpe import BpeTokenizer, BpeTokenizerConfig
from hybrid_asr.text.characters import CharTokenizer, CharTokenizerConfig
from hybrid_asr.text.labels import TokenizerError, Writes
from hybrid_asr.text.lexicon import LexiconError, read_lexicon
from hybrid_asr.text.normalize import TextConfig
from hybrid_asr.text.phonemes import PhonemeTokenizer, PhonemeTokenizerConfig
from hybrid_asr.text.tags import KEPT
from hybrid_asr.text.token_list import TokenListConfig, TokenListTokenizer

TokenizerConfig = Annotated[
    CharTokenizerConfig | BpeTokenizerConfig | PhonemeTokenizerConfig | TokenListConfig, Field(discriminator="kind")
]

AS_IT_IS = TextConfig(rules="none@1")


@runtime_checkable
class Tokenizer(Protocol):
    """Turns a normalized transcript into labels and back.

    blank = 0, unk = 1, then the units, and sos = eos = vocab_size - 1; a `token_list` has the ids of its source.
    Text is taken and given in NFC with single spaces: decode(encode(text)) is normalize(text, "none@1") wherever
    missing(text) is empty. If `writes` is "phonemes", labels are phonemes: words need a lexicon.
    """

    writes: Writes
    tags: frozenset[str]
    """Tags such as [noise] that are one unit each."""

    blank: int
    unk: int
    sos: int
    eos: int
    vocab_size: int

    def encode(self, text: str) -> list[int]:
        """The labels of `text`; never blank, sos or eos."""
        ...

    def decode(self, labels: Iterable[int]) -> str:
        """The transcript of `labels`; blank, sos and eos give no text, unk gives U+FFFD."""
        ...

    def pieces(self, labels: Iterable[int]) -> list[str]:
        """The text of each label, spaces included; joined they are the transcript, but for outer or repeated spaces."""
        ...

    def missing(self, text: str) -> set[str]:
        """The characters of `text` that the tokenizer cannot write; the words, if it `writes` phonemes."""
        ...

    def state(self) -> dict[str, Any]:
        """Plain containers and tensors for `restore_tokenizer`, which `torch.load` reads with `weights_only=True`."""
        ...


def train_tokenizer(
    cfg: TokenizerConfig, texts: Iterable[str], *, text: TextConfig = AS_IT_IS, root: Path | str = "."
) -> Tokenizer:
    """Learn the units from `texts` (already spelled by `text`) and from nothing else.

    Equal texts give an equal tokenizer, in whatever order they come. A lexicon, looked for below `root`, is spelled
    by it as the texts are. Raises TokenizerError where the texts are empty or cannot support the size that is
    asked for, and LexiconError.
    """
    match cfg:
        case CharTokenizerConfig():
            return CharTokenizer.train(texts, tags=text.tags)
        case BpeTokenizerConfig():
            return BpeTokenizer.train(texts, size=cfg.size, tags=text.tags)
        case PhonemeTokenizerConfig():
            path = find_below(root, cfg.lexicon)
            if not path.exists():
                raise LexiconError(
                    f"tokenizer.lexicon={cfg.lexicon}: no such file here, nor below data.root ({root}); give its path"
                )
            return PhonemeTokenizer.train(texts, read_lexicon(path).spelled_by(text, where=str(path)))
        case TokenListConfig():
            raise TokenizerError(
                "tokenizer.kind=token_list is not learned from texts: choose presets.tokenizer=char or bpe500"
            )
        case _:
            assert_never(cfg)


def restore_tokenizer(state: dict[str, Any]) -> Tokenizer:
    """The tokenizer that returned `state`. Raises TokenizerError if it is not one of hybrid-asr."""
    match state:
        case {"kind": "char", "characters": list(characters)}:
            _check_characters(characters)
            return CharTokenizer(characters)
        case {"kind": "bpe", "model": torch.Tensor() as model} if model.dtype == torch.uint8 and model.dim() == 1:
            return BpeTokenizer(model.cpu().numpy().tobytes())
        case {"kind": "phoneme", "lexicon": str(text)}:
            return PhonemeTokenizer.restore(text)
        case {
            "kind": "token_list",
            "tokens": list(tokens),
            "joins": "characters" | "words" | "pieces" as joins,
            "blank": int(blank),
            "unk": int(unk),
            "sos": int(sos),
        }:
            model = state.get("model")
            if model is not None and not (
                isinstance(model, torch.Tensor) and model.dtype == torch.uint8 and model.dim() == 1
            ):
                raise TokenizerError("tokenizer.model: expected the bytes of a sentencepiece model")
            content = None if model is None else model.cpu().numpy().tobytes()
            return TokenListTokenizer(tokens, joins=joins, blank=blank, unk=unk, sos=sos, model=content)
        case _:
            raise TokenizerError(
                f"no tokenizer of hybrid-asr: {sorted(map(str, state))} with kind {state.get('kind')!r}; "
                "it comes from another program or from a newer version"
            )


def _check_characters(characters: list[Any]) -> None:
    """Raise TokenizerError unless every unit is a single character and occurs once."""
    for index, character in enumerate(characters):
        if not isinstance(character, str) or not (len(character) == 1 or KEPT.fullmatch(character)):
            raise TokenizerError(f"tokenizer.characters: number {index} is {character!r}, not a character")
    if len(set(characters)) < len(characters) or not characters:
        raise TokenizerError(
            f"tokenizer.characters: {len(characters)} characters, {len(set(characters))} different ones"
        )
