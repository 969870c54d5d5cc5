"""The lexicon search of a model: its words, how the model spells them, and the n-gram that scores them."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import find_below
from hybrid_asr.common.problems import examples
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.transcripts import spelled_texts
from hybrid_asr.decoding.hypothesis import DecodeError
from hybrid_asr.decoding.lexicon_search import LexiconConfig, LexiconSearch
from hybrid_asr.decoding.trie import build_trie
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.text.arpa import read_arpa
from hybrid_asr.text.labels import describe_missing
from hybrid_asr.text.lexicon import Lexicon, read_lexicon, read_words
from hybrid_asr.text.ngram import NO_WORD, Ngram
from hybrid_asr.text.phonemes import PhonemeTokenizer
from hybrid_asr.text.tokenizer import Tokenizer

TRAIN = "train"
_TRIED = 100  # words that are encoded to find the label between words

Spelled = dict[str, list[tuple[int, ...]]]


def lexicon_search(bundle: Bundle, cfg: LexiconConfig) -> LexiconSearch:
    """The search that `cfg` describes. Raises UserError: a file cannot be read, the model can write no word."""
    tokenizer, border = bundle.tokenizer, None
    if isinstance(tokenizer, PhonemeTokenizer):
        spelled = _spell_pronunciations(tokenizer, _pronunciations(bundle, tokenizer, cfg))
    else:
        words = (
            _training_words(bundle)
            if cfg.lexicon == TRAIN
            else read_words(_find_file(bundle, "lexicon", cfg.lexicon), bundle.text)
        )
        spelled = _spell_words(tokenizer, words)
        border = border_label(tokenizer, [*spelled][:_TRIED])
    ngram = read_arpa(_find_file(bundle, "arpa", cfg.arpa)) if cfg.arpa else None
    if ngram is not None:
        _check_ngram_words(cfg, ngram, spelled)
    trie = build_trie(spelled, blank=tokenizer.blank, border=border, ngram=ngram)
    return LexiconSearch(trie, cfg, blank=tokenizer.blank, ngram=ngram)


def files_of(bundle: Bundle, cfg: LexiconConfig) -> list[Path]:
    """The files whose contents decide the result of decoding."""
    given = [("lexicon", cfg.lexicon), ("arpa", cfg.arpa)]
    if cfg.lexicon == TRAIN:
        given = [*(("lexicon", name) for name in _training_manifests(bundle)), ("arpa", cfg.arpa)]
    return [_find_file(bundle, key, name) for key, name in given if name]


def border_label(tokenizer: Tokenizer, words: Sequence[str]) -> int | None:
    """The label between two words; None where words follow each other directly.

    Raises DecodeError where the labels of a word depend on its neighbor.
    """
    borders: set[int | None] = set()
    for word in words:
        single, double = tokenizer.encode(word), tokenizer.encode(f"{word} {word}")
        between = double[len(single) : -len(single)]
        if len(between) > 1 or double != [*single, *between, *single]:
            raise DecodeError(
                f"the units of '{word} {word}' are not those of its words: no lexicon can be searched with this model; "
                "choose another decoder"
            )
        borders.add(between[0] if between and between != [tokenizer.unk] else None)
    assert len(borders) == 1, "all words are separated by the same label, or by none"
    return borders.pop()


def _find_file(bundle: Bundle, key: str, name: str) -> Path:
    """The path of a file below `data.root` or in the current folder. Raises UserError if it is in neither."""
    root = bundle.config.get("data", {}).get("root", ".")
    path = find_below(root, name)
    if not path.exists():
        raise UserError(f"decode.{key}={name}: no such file here, nor below data.root ({root}); give its path")
    return path


def _pronunciations(bundle: Bundle, tokenizer: PhonemeTokenizer, cfg: LexiconConfig) -> Lexicon:
    """The words that may be decoded, with their pronunciations."""
    if cfg.lexicon == TRAIN:
        return tokenizer.lexicon.only(_training_words(bundle))
    if cfg.lexicon:
        path = _find_file(bundle, "lexicon", cfg.lexicon)
        return read_lexicon(path).spelled_by(bundle.text, where=str(path))
    return tokenizer.lexicon


def _training_words(bundle: Bundle) -> list[str]:
    """The words of the training transcripts, in alphabetical order."""
    data = bundle.config["data"]
    paths = [Path(data.get("root", ".")) / name for name in _training_manifests(bundle)]
    for path in paths:
        if not path.is_file():
            raise UserError(
                f"decode.lexicon={TRAIN}: the training transcripts, {path}, are not there; give a list of words, "
                "decode.lexicon=FILE"
            )
    texts = spelled_texts(Manifest.read_all(paths, audio="unchecked"), bundle.text, what="collecting words")
    return sorted({word for text in texts for word in text.split()})


def _training_manifests(bundle: Bundle) -> list[str]:
    """As the configuration names them, one or several with weights."""
    train = bundle.config["data"]["train"]
    return [train] if isinstance(train, str) else [entry["manifest"] for entry in train]


def _spell_pronunciations(tokenizer: PhonemeTokenizer, lexicon: Lexicon) -> Spelled:
    """The labels of each pronunciation; words with phonemes that the model lacks are left out and reported."""
    spelled: Spelled = {}
    for word, pronunciations in lexicon.entries.items():
        spellings = [labels for phonemes in pronunciations if (labels := tokenizer.spell(phonemes)) is not None]
        if spellings:
            spelled[word] = spellings
    left_out = lexicon.entries.keys() - spelled.keys()
    unknown = set(lexicon.phonemes()) - set(tokenizer.phonemes)
    stressed = {phoneme for phoneme in unknown if phoneme.rstrip("012") in tokenizer.phonemes}
    remedy = "; without the digits of stress they are: 'hybrid-asr lexicon' removes them" if stressed else ""
    return _report_left_out(
        spelled, left_out, f"have the phonemes {examples(sorted(unknown))}, which are no units of the model{remedy}"
    )


def _spell_words(tokenizer: Tokenizer, words: Iterable[str]) -> Spelled:
    """The labels of each word; words with characters that the model lacks are left out and reported."""
    spelled, left_out = {}, set()
    for word in words:
        if tokenizer.missing(word):
            left_out.add(word)
        else:
            spelled[word] = [tuple(tokenizer.encode(word))]
    return _report_left_out(spelled, left_out, "have characters that the model cannot write")


def _report_left_out(spelled: Spelled, left_out: Iterable[str], why: str) -> Spelled:
    """Name the words that are left out on stderr. Raises DecodeError if no word remains."""
    left_out = set(left_out)
    if not spelled:
        raise DecodeError(f"decode.lexicon: none of its {len(left_out)} words can be written: they {why}; give another")
    if left_out:
        print(
            f"decode.lexicon: {len(left_out)} words are left out, they {why}: {describe_missing(left_out, 'phonemes')}",
            file=sys.stderr,
        )
    return spelled


def _check_ngram_words(cfg: LexiconConfig, ngram: Ngram, spelled: Spelled) -> None:
    """Report the words that the n-gram gives a probability of 0, as it has neither them nor <unk>.

    Raises DecodeError if the n-gram has none of the words, as when it was made of texts with another spelling.
    """
    forbidden = {word for word in spelled if ngram.number(word) == NO_WORD}
    if len(forbidden) == len(spelled) or not any(word in ngram.words for word in spelled):
        own = [word for word in ngram.words if not word.startswith("<")]
        others = f"others such as '{max(own, key=len)}'" if own else "no word at all"
        raise DecodeError(
            f"decode.arpa={cfg.arpa}: has none of the {len(spelled)} words, such as '{next(iter(spelled))}', but "
            f"{others}; make it of transcripts as the model's text.rules spell them"
        )
    if forbidden:
        print(
            f"decode.arpa={cfg.arpa}: has neither {len(forbidden)} of the {len(spelled)} words nor <unk>, so that they "
            f"are never written: {describe_missing(forbidden, 'phonemes')}",
            file=sys.stderr,
        )
