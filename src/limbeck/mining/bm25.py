"""BM25: the index of `bm25s`, streamed into, saved whole, and searched with bounded memory.

`s(q, p) = sum over tokens t of q of idf(t) · tf / (tf + k1 · (1 - b + b · |p| / mean |p|))`, with
`idf(t) = log(1 + (N - df + 0.5) / (df + 0.5))` (Robertson and Zaragoza, "The Probabilistic Relevance
Framework: BM25 and Beyond", 2009, in Lucene's form; bm25s: Lù, arXiv 2407.03618). A token that the query
repeats counts as often; stop words of the query are left out (see `tokenisation`).

k1 = 1.2, b = 0.75 by default: of (0.9, 0.4), (1.2, 0.75) and (1.5, 0.75) they are the best, or within 0.3
nDCG@10 of the best, on development and training queries of six sets (English, Chinese, code).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import bm25s
import numpy as np

from limbeck.errors import InputError
from limbeck.files import atomic_folder, require_file, require_folder
from limbeck.mining.bm25_kernel import accumulate, best
from limbeck.mining.tokenisation import query_tokenizer_for, tokenizer_for

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from limbeck.data import Passages

K1 = 1.2
B = 0.75
BUILD_BATCH = 4096
TOKENISATION_VERSION = 1  # raised when the tokenizers change: an index of other tokens must not be searched

_SETTINGS = "limbeck.json"


class BM25:
    """A BM25 index over title and text of passages.

    Build one with `BM25.build`, or open a saved one with `BM25.load`.

    Example:
        >>> bm25 = BM25.build(passages, "en")
        >>> rows, scores = bm25.search(["who invented the telephone"], depth=10)[0]
        >>> passages.ids(rows)
        ['d12', 'd7']
    """

    def __init__(self, index: bm25s.BM25, passages: Passages, language: str, mean_length: float) -> None:
        self.passages = passages
        self.language = language
        self.mean_length = mean_length  # tokens a passage
        self.k1, self.b = float(index.k1), float(index.b)
        self._index = index
        self._tokenize = tokenizer_for(language)
        self._tokenize_query = query_tokenizer_for(language)
        self._vocabulary: dict[str, int] = index.vocab_dict
        # Read-only, contiguous views: a loaded (mapped) index then needs no second compilation of the kernel.
        self._weights = _frozen(index.scores["data"], np.float32)
        self._rows = _frozen(index.scores["indices"], np.int32)
        self._starts = _frozen(index.scores["indptr"], np.int64)

    @classmethod
    def build(cls, passages: Passages, language: str = "en", *, k1: float = K1, b: float = B) -> BM25:
        """Index the content (title and text) of all passages.

        Tokens go through a temporary file of 4 bytes each; in memory are the vocabulary and the index
        (8 bytes for each distinct token of a passage, three times that while it is made).

        Args:
            passages: what is searched.
            language: see `limbeck.mining.tokenisation.tokenizer_for`.
            k1: how soon repetitions of a token stop counting; greater than 0.
            b: from 0, length does not matter, to 1, scores are normalised by length in full.

        Raises:
            InputError: for an unknown language, k1 or b out of range, passages without a single token.
        """
        if not k1 > 0 or not 0 <= b <= 1:
            raise InputError(f"BM25 has k1 = {k1} and b = {b}", expected="k1 > 0 and 0 <= b <= 1")
        vocabulary: dict[str, int] = {}
        index = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy")
        with tempfile.TemporaryFile() as file:
            tokens = _TokenFile(file)
            tokenize = tokenizer_for(language)
            for batch in passages.batches(BUILD_BATCH):
                for passage in batch:
                    found = tokenize(passage.content)
                    tokens.add([vocabulary.setdefault(token, len(vocabulary)) for token in found])
            if not vocabulary:
                raise InputError(
                    "no passage has a single token", path=passages.path, remedy="choose another language"
                )
            index.index(tokens.finished(vocabulary), create_empty_token=False, show_progress=False)
        return cls(index, passages, language, tokens.mean_length)

    # -- searching ---------------------------------------------------------------------------------

    def search(self, texts: Sequence[str], depth: int) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """The best passages for each text.

        Args:
            texts: queries.
            depth: how many passages at most, at least 1.

        Returns:
            A pair for each text: rows in `passages` and their scores, both (found,), best first, equal scores
            by row. Only passages that share a token with the text are found, so there may be fewer than
            `depth`, or none.

        Raises:
            InputError: for a depth below 1.
        """
        return list(self.iter_search(texts, depth))

    def iter_search(
        self, texts: Sequence[str], depth: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """What `search` gives, one text at a time."""
        if depth < 1:
            raise InputError(f"the depth is {depth}", expected="at least 1")
        scores = np.zeros(len(self.passages), np.float32)
        touched = np.empty(len(self.passages), np.int32)
        for text in texts:
            tokens = self._token_ids(text)
            found = accumulate(tokens, self._weights, self._rows, self._starts, scores, touched)
            rows = touched[:found].copy()
            values = scores[rows]
            scores[rows] = 0
            yield best(rows, values, depth)

    def score(self, text: str, passage_ids: Sequence[str]) -> NDArray[np.float64]:
        """The scores (passages,) of the passages with these ids for a query text; 0 where no token is shared.

        Raises:
            InputError: for an id that the passages do not have.
        """
        return self.score_rows(text, self.passages.rows(passage_ids))

    def score_rows(self, text: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """As `score`, of the passages at these rows: (rows,), equal to the scores that `search` gives."""
        scores = np.zeros(len(rows), np.float32)
        for token in self._token_ids(text):
            span = slice(self._starts[token], self._starts[token + 1])
            postings = self._rows[span]
            at = np.minimum(np.searchsorted(postings, rows), len(postings) - 1)
            hit = postings[at] == rows
            scores[hit] += self._weights[span][at[hit]]
        return scores.astype(np.float64)

    def score_text(self, text: str, content: str) -> float:
        """The score of any passage text for a query text, indexed or not, by the statistics of the index."""
        return float(self.score_texts([(text, content)])[0])

    def score_texts(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        """`score_text` for many (query text, content) pairs, each distinct text read once: (pairs,)."""
        queries = {text: self._token_ids(text) for text in dict.fromkeys(text for text, _ in pairs)}
        weights = {text: self._idf(tokens) for text, tokens in queries.items()}
        counts: dict[str, Counter[int]] = {}
        lengths: dict[str, float] = {}
        for content in dict.fromkeys(content for _, content in pairs):
            tokens = self._tokenize(content)
            known = (self._vocabulary.get(token) for token in tokens)
            counts[content] = Counter(token for token in known if token is not None)
            lengths[content] = self.k1 * (1 - self.b + self.b * len(tokens) / self.mean_length)
        scores = np.zeros(len(pairs))
        for at, (text, content) in enumerate(pairs):
            of_passage = counts[content]
            frequency = np.array([of_passage[token] for token in queries[text].tolist()], np.float64)
            scores[at] = (weights[text] * frequency / (frequency + lengths[content])).sum()
        return scores

    def attainable(self, text: str) -> float:
        """The score that no passage can exceed for a text: the sum of the idf of its tokens.

        Tokens that do not occur in the corpus count nothing. Each other token adds `idf(t) · tf / (tf +
        ...)`, and the fraction stays below 1.
        """
        return float(self._idf(self._token_ids(text)).sum())

    def _idf(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        frequency = self._starts[tokens + 1] - self._starts[tokens]
        return np.asarray(np.log1p((len(self.passages) - frequency + 0.5) / (frequency + 0.5)))

    def _token_ids(self, text: str) -> NDArray[np.int64]:
        known = (self._vocabulary.get(token) for token in self._tokenize_query(text))
        return np.array([token for token in known if token is not None], np.int64)

    # -- disk --------------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the index as a folder, which appears whole; `passages` stay where they are."""
        settings = {
            "language": self.language,
            "tokenisation": TOKENISATION_VERSION,
            "passages": self.passages.fingerprint,
            "mean_length": self.mean_length,
        }
        if Path(folder, _SETTINGS).is_file():  # an index: removed first, so that two are never mixed
            shutil.rmtree(folder)
        with atomic_folder(folder) as staging:
            self._index.save(staging, show_progress=False)
            (staging / _SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | os.PathLike[str], passages: Passages) -> BM25:
        """Open what `save` wrote, memory-mapped.

        Raises:
            InputError: when the folder is no such index, or was made of other passages or tokens.
        """
        path = require_folder(folder, expected="a folder that BM25.save wrote")
        text = require_file(path / _SETTINGS, expected="a folder that BM25.save wrote").read_text("utf-8")
        settings = json.loads(text)
        if settings["passages"] != passages.fingerprint:
            raise InputError(
                "the BM25 index was built of other passages", path=path, remedy="build it again, or remove it"
            )
        if settings["tokenisation"] != TOKENISATION_VERSION:
            raise InputError(
                "the BM25 index was built by another version",
                path=path,
                remedy="build it again, or remove it",
            )
        index = bm25s.BM25.load(path, mmap=True, show_progress=False)
        return cls(index, passages, settings["language"], settings["mean_length"])

    @property
    def fingerprint(self) -> str:
        """What identifies the scores: passages, language, tokenisation, k1 and b."""
        return (
            f"{self.passages.fingerprint}/{self.language}/{TOKENISATION_VERSION}/k1={self.k1:g}/b={self.b:g}"
        )


@dataclass(frozen=True)
class _Tokenized:
    """What bm25s reads."""

    ids: _TokenFile
    vocab: dict[str, int]


class _TokenFile:
    """The token ids of all passages on disk, read back as one list a passage, as often as bm25s asks."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._ends = array("q", [0])
        self._flat: NDArray[np.int32] = np.zeros(0, np.int32)

    def add(self, tokens: list[int]) -> None:
        self._file.write(np.array(tokens, np.int32).tobytes())
        self._ends.append(self._ends[-1] + len(tokens))

    @property
    def mean_length(self) -> float:
        return self._ends[-1] / len(self)

    def finished(self, vocabulary: dict[str, int]) -> _Tokenized:
        self._file.flush()
        if self._ends[-1]:
            self._flat = np.memmap(self._file, np.int32, mode="r")
        return _Tokenized(self, vocabulary)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[list[int]]:
        for row in range(len(self)):
            yield self._flat[self._ends[row] : self._ends[row + 1]].tolist()


def _frozen(values: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    frozen = np.asarray(np.ascontiguousarray(values, dtype)).view(np.ndarray)
    frozen.flags.writeable = False
    return frozen
