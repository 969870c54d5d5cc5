"""What a lexicon decoding may write: the words, how the model spells them, and the n-gram that weighs them."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import find_below
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.decoding.hypothesis import DecodeError
from hybrid_asr.decoding.lexicon import LexiconConfig, LexiconSearch
from hybrid_asr.decoding.trie import build_trie
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.text.labels import describe_missing
from hybrid_asr.text.lexicon import Lexicon, read_lexicon, read_words
from hybrid_asr.text.ngram import NO_WORD, Ngram, read_arpa
from hybrid_asr.text.normalize import normalize
from hybrid_asr.text.phonemes import PhonemeTokenizer
from hybrid_asr.text.tokenizer import Tokenizer

TRAIN = "train"
_TRIED = 100  # words of which the label between words is learned

Spelled = dict[str, list[tuple[int, ...]]]


def lexicon_search(bundle: Bundle, cfg: LexiconConfig) -> LexiconSearch:
    """The search that `cfg` describes. Raises UserError: files that cannot be read, no word that can be written."""
    tokenizer, border = bundle.tokenizer, None
    if isinstance(tokenizer, PhonemeTokenizer):
        spelled = _pronounced(tokenizer, _lexicon(bundle, tokenizer, cfg))
    else:
        words = (
            _training_words(bundle)
            if cfg.lexicon == TRAIN
            else read_words(_place(bundle, "lexicon", cfg.lexicon), bundle.text.rules)
        )
        spelled = _written(tokenizer, words)
        border = border_label(tokenizer, [*spelled][:_TRIED])
    ngram = read_arpa(_place(bundle, "arpa", cfg.arpa)) if cfg.arpa else None
    if ngram is not None:
        _tell_of_unknown_words(cfg, ngram, spelled)
    trie = build_trie(spelled, blank=tokenizer.blank, border=border, ngram=ngram)
    return LexiconSearch(trie, cfg, blank=tokenizer.blank, ngram=ngram)


def files_of(bundle: Bundle, cfg: LexiconConfig) -> list[Path]:
    """The files whose contents decide what is written."""
    given = {"lexicon": bundle.config["data"]["train"] if cfg.lexicon == TRAIN else cfg.lexicon, "arpa": cfg.arpa}
    return [_place(bundle, key, name) for key, name in given.items() if name]


def border_label(tokenizer: Tokenizer, words: Sequence[str]) -> int | None:
    """The label between two words; None where words follow each other directly.

    Raises DecodeError where units of one word depend on the next.
    """
    found: set[int | None] = set()
    for word in words:
        one, two = tokenizer.encode(word), tokenizer.encode(f"{word} {word}")
        between = two[len(one) : -len(one)]
        if len(between) > 1 or two != [*one, *between, *one]:
            raise DecodeError(
                f"the units of '{word} {word}' are not those of its words: no lexicon can be searched with this model; "
                "choose another decoder"
            )
        found.add(between[0] if between and between != [tokenizer.unk] else None)
    assert len(found) == 1, "one label stands between words, or none"
    return found.pop()


def _place(bundle: Bundle, key: str, name: str) -> Path:
    """Below `data.root`, or where the user stands. Raises UserError where it is at neither place."""
    root = bundle.config.get("data", {}).get("root", ".")
    path = find_below(root, name)
    if not path.exists():
        raise UserError(f"decode.{key}={name}: no such file here, nor below data.root ({root}); give its path")
    return path


def _lexicon(bundle: Bundle, tokenizer: PhonemeTokenizer, cfg: LexiconConfig) -> Lexicon:
    """The pronunciations that may be said."""
    if cfg.lexicon == TRAIN:
        return tokenizer.lexicon.only(_training_words(bundle))
    if cfg.lexicon:
        return read_lexicon(_place(bundle, "lexicon", cfg.lexicon)).spelled_by(bundle.text.rules)
    return tokenizer.lexicon


def _training_words(bundle: Bundle) -> list[str]:
    """The words of the training transcripts, in alphabetical order."""
    data = bundle.config["data"]
    path = Path(data.get("root", ".")) / data["train"]
    if not path.is_file():
        raise UserError(
            f"decode.lexicon={TRAIN}: the training transcripts, {path}, are not there; give a list of words, "
            "decode.lexicon=FILE"
        )
    manifest = Manifest.read(path, audio="unchecked")
    return sorted({word for one in manifest for word in normalize(one.text, bundle.text.rules).split()})


def _pronounced(tokenizer: PhonemeTokenizer, lexicon: Lexicon) -> Spelled:
    """Labels for phonemes; words with phonemes that the model lacks are told and left out."""
    spelled: Spelled = {}
    for word, several in lexicon.entries.items():
        ways = [labels for one in several if (labels := tokenizer.spell(one)) is not None]
        if ways:
            spelled[word] = ways
    lost = lexicon.entries.keys() - spelled.keys()
    strange = set(lexicon.phonemes()) - set(tokenizer.phonemes)
    return _usable(
        spelled, lost, f"have the phonemes {', '.join(sorted(strange)[:5])}, which are no units of the model"
    )


def _written(tokenizer: Tokenizer, words: Iterable[str]) -> Spelled:
    """Labels for words; those with characters that the model lacks are told and left out."""
    spelled, lost = {}, set()
    for word in words:
        if tokenizer.missing(word):
            lost.add(word)
        else:
            spelled[word] = [tuple(tokenizer.encode(word))]
    return _usable(spelled, lost, "have characters that the model cannot write")


def _usable(spelled: Spelled, lost: Iterable[str], why: str) -> Spelled:
    lost = set(lost)
    if not spelled:
        raise DecodeError(f"decode.lexicon: none of its {len(lost)} words can be written: they {why}; give another")
    if lost:
        print(
            f"decode.lexicon: {len(lost)} words are left out, they {why}: {describe_missing(lost, 'phonemes')}",
            file=sys.stderr,
        )
    return spelled


def _tell_of_unknown_words(cfg: LexiconConfig, ngram: Ngram, spelled: Spelled) -> None:
    """An n-gram without <unk> forbids the words that it lacks: told; one of another spelling lacks all: refused."""
    lost = {word for word in spelled if ngram.number(word) == NO_WORD}
    if len(lost) == len(spelled) or not any(word in ngram.words for word in spelled):
        own = [word for word in ngram.words if not word.startswith("<")]
        others = f"others such as '{max(own, key=len)}'" if own else "no word at all"
        raise DecodeError(
            f"decode.arpa={cfg.arpa}: has none of the {len(spelled)} words, such as '{next(iter(spelled))}', but "
            f"{others}; make it of transcripts as the model's text.rules spell them"
        )
    if lost:
        print(
            f"decode.arpa={cfg.arpa}: has neither {len(lost)} of the {len(spelled)} words nor <unk>, so that they are "
            f"never written: {describe_missing(lost, 'phonemes')}",
            file=sys.stderr,
        )
