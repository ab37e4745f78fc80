"""The vector index: a dense student's passages on disk, searched by cosine or through its interaction module.

Design facts:
- All arrays are memory-mapped; a search reads them in blocks, so its memory does not grow with the corpus.
- The passage half of the interaction module's first layer is stored. A pair then costs one addition, one ReLU
  and the branch, which is what makes exhaustive scoring possible.
- For large corpora `search` takes candidates by inner product and scores only those; `two_stage_recall` says
  what is lost by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from limbeck.errors import InputError
from limbeck.hardware import supports_int8
from limbeck.indexes.vectors import storage
from limbeck.indexes.vectors.builder import FILES, Builder
from limbeck.indexes.vectors.first_stage import (
    ExactFirstStage,
    FirstStage,
    Hits,
    HnswFirstStage,
    HnswParameters,
    stacked,
)
from limbeck.indexes.vectors.interaction import InteractionWeights
from limbeck.indexes.vectors.scoring import (
    INT8_BLOCK,
    INTERACTION_BLOCK,
    Best,
    Int8InteractionScorer,
    InteractionScorer,
    as_float32,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_QUERIES_AT_ONCE = 512
EXACT_UP_TO = 100_000
#: How many more than asked for a scan in 8 bits keeps at least, to be scored exactly.
INT8_MARGIN = 100


class VectorIndex:
    """Passages as vectors, with the interaction module that scores them.

    Make one with `build` or `open`. Searches may run in several threads at once.

    Args:
        directory: what `build` wrote.

    Raises:
        InputError: the directory is no index, or a file is missing, cut or of another build.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     vectors = np.eye(3, dtype=np.float32)
        ...     index = VectorIndex.build(Path(folder) / "index", [vectors], ["a", "b", "c"])
        ...     rows, cosines = index.search_cosine(vectors[1:2], k=1)
        ...     index.ids(rows[0])
        ['b']
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        header = self._header = storage.read_header(self.directory)
        try:
            passages, dim, hidden = header["passages"], header["dim"], header["hidden"]
            vector_type, half_type, id_bytes = header["vector_type"], header["half_type"], header["id_bytes"]
            graph = None if header["graph"] is None else HnswParameters(**header["graph"])
        except (KeyError, TypeError) as error:
            raise InputError(
                f"the header is incomplete ({error})",
                path=self.directory / storage.HEADER,
                remedy="build the index again",
            ) from error
        self._vectors = storage.map_array(self._path("vectors"), (passages, dim), vector_type)
        self._id_text = storage.map_array(self._path("id_text"), (id_bytes,), np.uint8)
        self._id_ends = storage.map_array(self._path("id_ends"), (passages,), np.int64)
        self.interaction: InteractionWeights | None = None
        if hidden is not None:
            self.interaction = InteractionWeights.load(self._path("interaction"))
            self._halves = storage.map_array(self._path("halves"), (passages, hidden), half_type)
        exact = ExactFirstStage(self._vectors)
        self._first_stage: FirstStage = exact
        if graph is not None:
            self._first_stage = HnswFirstStage(self._path("graph"), graph, exact)

    @classmethod
    def build(
        cls,
        directory: Path,
        vectors: Iterable[NDArray[np.floating]],
        ids: Iterable[str],
        interaction: InteractionWeights | None = None,
        *,
        vector_type: Literal["float32", "float16"] = "float32",
        half_type: Literal["float32", "float16"] = "float32",
        first_stage: Literal["auto", "exact", "graph"] = "auto",
        graph: HnswParameters | None = None,
    ) -> VectorIndex:
        """Writes an index from blocks of vectors and opens it; an index that stood there is replaced.

        Memory does not grow with the corpus, unless a graph is built, which is built in memory.

        Args:
            directory: where the index goes; it is there in full at the end, or not at all.
            vectors: blocks (block, dim) of passage vectors of length 1, in the order of the ids.
            ids: passage ids, one for each vector.
            interaction: the student's module; without it the index is searched by cosine only.
            vector_type: how vectors are stored; float16 halves them and moves a cosine by up to 0.0005.
            half_type: how the passage halves are stored, likewise.
            first_stage: how candidates are found: "exact" scans all vectors, "graph" uses HNSW (FAISS),
                "auto" takes the graph above 100,000 passages.
            graph: parameters of the graph.

        Raises:
            InputError: vectors of other shapes, not finite or not of length 1; more or fewer ids; no vectors;
                a directory that holds something else; FAISS missing where a graph is wanted.
        """
        directory = Path(directory)
        with storage.building(directory) as partial:
            builder = Builder(partial, interaction, vector_type=vector_type, half_type=half_type)
            builder.add_vectors(vectors)
            builder.add_ids(ids)
            wants_graph = first_stage == "graph" or (first_stage == "auto" and builder.passages > EXACT_UP_TO)
            builder.finish((graph or HnswParameters()) if wants_graph else None)
        return cls(directory)

    @classmethod
    def open(cls, directory: Path) -> VectorIndex:
        """Opens what `build` wrote; the same as the constructor."""
        return cls(directory)

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return int(self._vectors.shape[1])

    @property
    def size_bytes(self) -> int:
        """What the index takes on disk."""
        return sum(entry["size_bytes"] for entry in self._header["files"].values())

    def check_content(self) -> None:
        """Reads everything and compares it with the checksums of the build; InputError where it differs."""
        storage.check_content(self.directory, self._header)

    def id(self, row: int) -> str:
        """The passage id of a row."""
        if not 0 <= row < len(self):
            raise InputError(f"the index has no row {row}", expected=f"0 to {len(self) - 1}")
        start = int(self._id_ends[row - 1]) if row else 0
        return self._id_text[start : int(self._id_ends[row])].tobytes().decode()

    def ids(self, rows: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """The passage ids of some rows."""
        return [self.id(int(row)) for row in rows]

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of some rows: (rows, dim)."""
        return np.asarray(self._vectors[np.asarray(rows, dtype=np.int64)], dtype=np.float32)

    def search_cosine(self, query_vectors: NDArray[np.floating], k: int) -> Hits:
        """The best passages by cosine, by way of the first stage.

        Args:
            query_vectors: (queries, dim), of length 1.
            k: how many to find; all of them where the index has fewer.

        Returns:
            Rows (queries, k) and cosines (queries, k), best first.
        """
        queries, k = self._checked(query_vectors, k)
        chunks = [self._first_stage.search(chunk, k) for chunk in _chunks(queries)]
        return _joined(chunks, k)

    def search_exhaustive(self, query_vectors: NDArray[np.floating], k: int) -> Hits:
        """The best passages by the interaction module, each passage scored.

        Where the machine multiplies 8-bit numbers fast, all passages are scored by them, and the best of
        them, twice as many as asked for, again in float32: the logits are exact. Where rounding moved one of
        these so far that a passage left out might belong to the best, all are scored in float32.

        Args:
            query_vectors: (queries, dim), of length 1.
            k: how many to find; all of them where the index has fewer.

        Returns:
            Rows (queries, k) and logits (queries, k), best first; equal logits in the order of the rows.

        Raises:
            InputError: vectors of another length, or an index without an interaction module.
        """
        queries, k = self._checked(query_vectors, k)
        weights = self._weights()
        chunks = [self._scan(chunk, k, weights) for chunk in _chunks(queries)]
        return _joined(chunks, k)

    def search(self, query_vectors: NDArray[np.floating], k: int, candidates: int = 1000) -> Hits:
        """The best passages by the interaction module among the best by cosine.

        Args:
            query_vectors: (queries, dim), of length 1.
            k: how many to find, at most `candidates`.
            candidates: how many the first stage gives to the interaction module.

        Returns:
            Rows (queries, k) and logits (queries, k), best first; equal logits in the order of the rows.

        Raises:
            InputError: as `search_exhaustive`, or fewer candidates than k.
        """
        if candidates < k:
            raise InputError(
                f"{k} results are asked of {candidates} candidates", expected="at least as many candidates"
            )
        queries, k = self._checked(query_vectors, k)
        weights = self._weights()
        rows, _ = self.search_cosine(queries, candidates)
        return _ranked(rows, self._score_rows(queries, rows, weights), k)

    def score(self, query_vectors: NDArray[np.floating], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits of the interaction module for chosen passages.

        Args:
            query_vectors: (queries, dim), of length 1.
            rows: passages for each query (queries, list).

        Returns:
            (queries, list).
        """
        queries, _ = self._checked(query_vectors, 1)
        return self._score_rows(queries, np.asarray(rows, dtype=np.int64), self._weights())

    def _scan(self, queries: NDArray[np.float32], k: int, weights: InteractionWeights) -> Hits:
        """The exhaustive search for a few hundred queries."""
        everything = slice(0, len(self))
        if not supports_int8():
            return self._scan_rows(InteractionScorer(weights), INTERACTION_BLOCK, queries, k, everything)
        kept = min(k + max(k, INT8_MARGIN), len(self))
        rows, coarse = self._scan_in_8_bits(queries, kept, weights)
        exact = self._score_rows(queries, rows, weights)
        found, logits = _ranked(rows, exact, k)
        # The best that was left out, moved as far as any that was kept.
        possible = coarse[:, -1] + np.abs(exact - coarse).max(axis=1)
        unsure = np.flatnonzero((possible >= logits[:, -1]) & (kept < len(self)))
        if len(unsure):
            found[unsure], logits[unsure] = self._scan_rows(
                InteractionScorer(weights), INTERACTION_BLOCK, queries[unsure], k, everything
            )
        return found, logits

    def _scan_in_8_bits(self, queries: NDArray[np.float32], kept: int, weights: InteractionWeights) -> Hits:
        """As many of the best by rounded logits, which are given beside them."""

        def scan(start: int, stop: int) -> Hits:
            # Parts of one operation in several threads would wait for each other after each small step.
            with _openmp().limit(limits=1):
                coarse = Int8InteractionScorer(weights)
                return self._scan_rows(coarse, INT8_BLOCK, queries, kept, slice(start, stop))

        threads = torch.get_num_threads()
        ends = np.linspace(0, len(self), threads + 1).astype(int).tolist()
        with ThreadPoolExecutor(threads) as executor:
            parts = list(executor.map(scan, ends[:-1], ends[1:]))
        rows = np.concatenate([rows for rows, _ in parts], axis=1)
        scores = np.concatenate([scores for _, scores in parts], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
        return np.take_along_axis(rows, best, 1), np.take_along_axis(scores, best, 1)

    def _scan_rows(
        self,
        scorer: InteractionScorer | Int8InteractionScorer,
        block_size: int,
        queries: NDArray[np.float32],
        k: int,
        among: slice,
    ) -> Hits:
        """The k best of these passages by the scorer, or all; a block serves all queries."""
        weights = self._weights()
        best = [Best(k) for _ in queries]
        query_halves = torch.from_numpy(weights.query_halves(queries))
        query_columns = torch.from_numpy(queries).T
        for start in range(among.start, among.stop, block_size):
            block = slice(start, min(start + block_size, among.stop))
            halves = as_float32(self._halves[block])
            cosines = (as_float32(self._vectors[block]) @ query_columns).T.contiguous()
            for query, kept in enumerate(best):
                kept.add(start, scorer.scores(query_halves[query], halves, cosines[query]).numpy())
        return stacked(best, min(k, among.stop - among.start))

    def _score_rows(
        self, queries: NDArray[np.float32], rows: NDArray[np.int64], weights: InteractionWeights
    ) -> NDArray[np.float32]:
        scorer, scores = InteractionScorer(weights), np.empty(rows.shape, dtype=np.float32)
        query_halves = torch.from_numpy(weights.query_halves(queries))
        for query, query_vector in enumerate(torch.from_numpy(queries)):
            for start in range(0, rows.shape[1], INTERACTION_BLOCK):
                block = slice(start, start + INTERACTION_BLOCK)
                chosen = rows[query, block]
                halves, vectors = as_float32(self._halves[chosen]), as_float32(self._vectors[chosen])
                scored = scorer.scores(query_halves[query], halves, vectors @ query_vector)
                scores[query, block] = scored.numpy()
        return scores

    def _weights(self) -> InteractionWeights:
        if self.interaction is None:
            raise InputError(
                "the index was built without an interaction module",
                path=self.directory,
                remedy="search it by cosine, or build it from a student that has one",
            )
        return self.interaction

    def _checked(self, query_vectors: NDArray[np.floating], k: int) -> tuple[NDArray[np.float32], int]:
        """The query vectors as float32, and k as far as there are passages."""
        queries = np.ascontiguousarray(query_vectors, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise InputError(
                f"the query vectors have shape {queries.shape}",
                expected=f"(queries, {self.dim})",
                remedy="encode the queries with the student that the index was built from",
            )
        if not np.isfinite(queries).all():
            raise InputError("the query vectors contain NaN or infinity")
        if k < 1:
            raise InputError(f"{k} results are asked for", expected="1 or more")
        return queries, min(k, len(self))

    def _path(self, name: str) -> Path:
        return self.directory / FILES[name]


@cache
def _openmp() -> ThreadpoolController:
    """Limits the threads of an operation, for the Python thread that asks; finding it takes time."""
    return ThreadpoolController().select(user_api="openmp")


def two_stage_recall(
    index: VectorIndex, query_vectors: NDArray[np.floating], k: int = 10, candidates: int = 1000
) -> float:
    """The share of the exhaustive search's top k that the two-stage search finds, averaged over the queries.

    Of passages with the same logit (to 1e-5) one is as good as the other.

    Args:
        index: with an interaction module.
        query_vectors: (queries, dim), of length 1.
        k: the depth at which the two are compared.
        candidates: how many the first stage gives to the interaction module.
    """
    _, best = index.search_exhaustive(query_vectors, k)
    _, found = index.search(query_vectors, k, candidates)
    worst = best[:, -1:] - 1e-5 * np.maximum(1, np.abs(best[:, -1:]))
    return float((found >= worst).mean()) if found.size else 1.0


def _ranked(rows: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Hits:
    """The k best of the rows (queries, list) by their scores."""
    # By score, equal ones by row: what the exhaustive search gives.
    order = np.lexsort((rows, -scores))[:, :k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)


def _chunks(queries: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """A few hundred queries at a time: their scores of a block then take a few megabytes."""
    return [queries[start : start + _QUERIES_AT_ONCE] for start in range(0, len(queries), _QUERIES_AT_ONCE)]


def _joined(chunks: list[Any], k: int) -> Hits:
    if not chunks:
        return stacked([], k)
    rows, scores = zip(*chunks, strict=True)
    return np.concatenate(rows), np.concatenate(scores)
