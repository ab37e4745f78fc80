"""Words for BM25, by language.

Measured with BM25 (k1 1.2, b 0.75), nDCG@10 on development and training queries:

- **Identifiers** (`snake_case`, `camelCase`) give their parts and the whole. Searching the Python standard
  library by summary line rises from 38.6 to 46.6; ordinary English text does not change. A dotted name
  gives its segments only; the whole besides made it slightly worse (46.3).
- **Stop words** are indexed and dropped from queries that have other words: 43.8 to 45.1 on the standard
  library, 62.7 to 64.8 on FairytaleQA, 69.2 to 69.1 on SciFact, 84.1 to 83.6 on Natural Questions, and
  recall at 100 rises on all four. Dropped from passages too, a query of nothing but stop words would find
  nothing.
- **Chinese, Japanese, Korean** give characters and character bigrams. Chinese: 54.6 on STARD and 95.9 on
  DRCD + CMRC, where jieba (search mode) gives 51.0 and 94.6; bigrams alone are between. They need no
  dictionary and are made several times as fast. Word segmentation is there all the same: `zh-jieba` and
  `ja-janome`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from importlib import import_module
from typing import Any

import Stemmer
from bm25s import stopwords

from limbeck.errors import InputError
from limbeck.texts import COMBINING_MARKS

Tokenizer = Callable[[str], list[str]]
"""Turns a text into its tokens, in order, with repetitions."""

SNOWBALL = {
    "ar": "arabic",
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "eo": "esperanto",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "ne": "nepali",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
"""ISO 639-1 code to the name of the Snowball stemmer, of those that the installed PyStemmer has."""

_AVAILABLE = set(Stemmer.algorithms())
SNOWBALL = {code: name for code, name in SNOWBALL.items() if name in _AVAILABLE}

_STOP_WORDS = {
    "danish": stopwords.STOPWORDS_DANISH,
    "dutch": stopwords.STOPWORDS_DUTCH,
    "english": stopwords.STOPWORDS_EN_PLUS,
    "french": stopwords.STOPWORDS_FRENCH,
    "german": stopwords.STOPWORDS_GERMAN,
    "italian": stopwords.STOPWORDS_ITALIAN,
    "norwegian": stopwords.STOPWORDS_NORWEGIAN,
    "portuguese": stopwords.STOPWORDS_PORTUGUESE,
    "russian": stopwords.STOPWORDS_RUSSIAN,
    "spanish": stopwords.STOPWORDS_SPANISH,
    "swedish": stopwords.STOPWORDS_SWEDISH,
    "turkish": stopwords.STOPWORDS_TURKISH,
}

_WORD = re.compile(rf"[\w{COMBINING_MARKS}]+")
# An acronym, a capitalised or lower-case word, or a number inside an identifier: HTTPServer2 = HTTP Server 2.
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# Han with its iteration marks, kana, Hangul: scripts that are written without spaces, or with few.
_CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
_CJK_OR_WORD = re.compile(rf"[{_CJK}]+|[^\W{_CJK}]+")
_IS_CJK = re.compile(rf"[{_CJK}]")


def words(text: str) -> list[str]:
    """Lower-case words of `text`; an identifier gives its parts and then itself.

    Example:
        >>> words("Use os.path.join or readLines, not read_all!")
        ['use', 'os', 'path', 'join', 'or', 'read', 'lines', 'readlines', 'not', 'read', 'all', 'read_all']
    """
    tokens: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text)):
        tokens += _identifier_tokens(word)
    return tokens


def _identifier_tokens(word: str) -> list[str]:
    """The parts of an identifier and the whole in lower case; one token where there is nothing to split."""
    parts: list[str] = []
    for segment in word.split("_"):
        plain = not segment.isascii() or segment.islower() or segment.isupper() or segment.istitle()
        if segment:
            parts += [segment] if plain else _PART.findall(segment)
    whole = word.lower()
    if len(parts) > 1:
        return [*(part.lower() for part in parts), whole]
    return [parts[0].lower()] if parts else []


def character_ngrams(text: str) -> list[str]:
    """Characters and character bigrams of Chinese, Japanese and Korean runs; lower-case words of the rest.

    Example:
        >>> character_ngrams("北京大学 and NLP")
        ['北', '京', '大', '学', '北京', '京大', '大学', 'and', 'nlp']
    """
    tokens: list[str] = []
    for run in _CJK_OR_WORD.findall(unicodedata.normalize("NFKC", text)):
        if _IS_CJK.match(run):
            tokens += [*run, *(run[start : start + 2] for start in range(len(run) - 1))]
        else:
            tokens += _identifier_tokens(run)
    return tokens


def tokenizer_for(language: str) -> Tokenizer:
    """The tokenizer of a language.

    Args:
        language: an ISO 639-1 code or Snowball name ("en", "german", ...: words with stemming); "zh", "ja",
            "ko" (characters and bigrams); "zh-jieba", "ja-janome" (word segmentation, extras `chinese` and
            `japanese`); "none" (words as they are).

    Raises:
        InputError: the language is unknown, or its package is not installed.

    Example:
        >>> tokenizer_for("en")("Running threads")
        ['run', 'thread']
    """
    name = language.strip().lower()
    if name in {"zh", "ja", "ko"}:
        return character_ngrams
    if name == "none":
        return words
    if name == "zh-jieba":
        return _jieba()
    if name == "ja-janome":
        return _janome()
    stemmer_name = SNOWBALL.get(name, name)
    if stemmer_name not in _AVAILABLE:
        raise InputError(
            f"there is no tokenizer for the language '{language}'",
            expected=f"one of {', '.join(languages())}, or the name of a Snowball stemmer",
            remedy="use 'none' for words without stemming",
        )
    stemmer = Stemmer.Stemmer(stemmer_name)

    def stemmed(text: str) -> list[str]:
        tokens: list[str] = stemmer.stemWords(words(text))
        return tokens

    return stemmed


def query_tokenizer_for(language: str) -> Tokenizer:
    """The tokenizer of a language for queries: stop words are left out, unless there is nothing else.

    Example:
        >>> query_tokenizer_for("en")("how do I read a file"), query_tokenizer_for("en")("to be or not to be")
        (['read', 'file'], ['to', 'be', 'or', 'not', 'to', 'be'])
    """
    tokenize = tokenizer_for(language)
    name = language.strip().lower()
    dropped = {token for word in _STOP_WORDS.get(SNOWBALL.get(name, name), ()) for token in tokenize(word)}

    def without_stop_words(text: str) -> list[str]:
        tokens = tokenize(text)
        return [token for token in tokens if token not in dropped] or tokens

    return without_stop_words if dropped else tokenize


def languages() -> list[str]:
    """The codes that `tokenizer_for` takes, sorted; Snowball names are accepted besides."""
    return sorted([*SNOWBALL, "zh", "ja", "ko", "zh-jieba", "ja-janome", "none"])


def _jieba() -> Tokenizer:
    """Words of jieba's search mode: long words are followed by the shorter ones inside them."""
    jieba = _import("jieba", "chinese")
    jieba.setLogLevel("WARNING")

    def segmented(text: str) -> list[str]:
        pieces = jieba.lcut_for_search(unicodedata.normalize("NFKC", text).lower())
        return [piece for piece in pieces if _WORD.search(piece)]

    return segmented


def _janome() -> Tokenizer:
    """Base forms of the words that janome finds, so that an inflected verb matches its dictionary form."""
    analyser = _import("janome.tokenizer", "japanese").Tokenizer()

    def segmented(text: str) -> list[str]:
        return [
            (piece.surface if piece.base_form == "*" else piece.base_form).lower()
            for piece in analyser.tokenize(unicodedata.normalize("NFKC", text))
            if _WORD.search(piece.surface)
        ]

    return segmented


def _import(module: str, extra: str) -> Any:  # the packages carry no types
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise InputError(
            f"the package '{package}' is not installed",
            remedy=f"pip install 'limbeck[{extra}]', or choose '{'zh' if extra == 'chinese' else 'ja'}', "
            "which needs no package",
        ) from error
