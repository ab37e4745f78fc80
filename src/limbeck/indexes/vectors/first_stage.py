"""Candidates by inner product: exactly for small corpora, with a graph for large ones.

The graph is FAISS's HNSW (Malkov and Yashunin 2016, arXiv 1603.09320). FAISS, torch and NumPy each bring
a pool of threads; nothing here changes their sizes, which belong to the process. Where several processes
share a machine, start them with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from limbeck.errors import InputError
from limbeck.indexes.vectors.scoring import COSINE_BLOCK, Best, as_float32

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from numpy.typing import NDArray

Hits = tuple["NDArray[np.int64]", "NDArray[np.float32]"]
"""Rows (queries, k) and scores (queries, k), best first."""


@dataclass(frozen=True, slots=True)
class HnswParameters:
    """How the graph is built and searched.

    Attributes:
        links: edges of a node; memory is about `8 · links` bytes a passage beside the vectors.
        build_effort: candidates looked at when a node is inserted; more is slower and better.
        search_effort: the fewest candidates looked at in a search; never fewer than twice what is asked for.
    """

    links: int = 32
    build_effort: int = 120
    search_effort: int = 128

    def __post_init__(self) -> None:
        for name in ("links", "build_effort", "search_effort"):
            if getattr(self, name) < 2:
                raise InputError(f"the graph's {name} is {getattr(self, name)}", expected="2 or more")


class FirstStage(Protocol):
    """Finds the passages whose vectors have the largest inner product with a query's."""

    def search(self, query_vectors: NDArray[np.float32], k: int) -> Hits:
        """Vectors (queries, dim) to rows and cosines (queries, k); k is at most the number of passages."""


class ExactFirstStage:
    """Every passage against every query, in blocks; needs no file beside the vectors."""

    def __init__(self, vectors: NDArray[np.floating]) -> None:
        self._vectors = vectors

    def search(self, query_vectors: NDArray[np.float32], k: int) -> Hits:
        """See `FirstStage.search`."""
        queries = torch.from_numpy(query_vectors)
        best = [Best(k) for _ in query_vectors]
        for start in range(0, len(self._vectors), COSINE_BLOCK):
            block = as_float32(self._vectors[start : start + COSINE_BLOCK])
            cosines = (queries @ block.T).numpy()
            for query, kept in enumerate(best):
                kept.add(start, cosines[query])
        return stacked(best, k)


class HnswFirstStage:
    """A graph on the vectors: a small share of the passages is looked at, and a few may be missed."""

    def __init__(self, path: Path, parameters: HnswParameters, exact: ExactFirstStage) -> None:
        self._parameters = parameters
        self._exact = exact
        try:
            self._index = import_faiss().read_index(str(path))
        except RuntimeError as error:
            raise InputError(
                f"the graph cannot be read ({error})", path=path, remedy="build the index again"
            ) from error

    @staticmethod
    def build(path: Path, vectors: NDArray[np.floating], parameters: HnswParameters) -> None:
        """Builds the graph in memory (vectors as float32, and links) and writes it to a file."""
        faiss = import_faiss()
        index = faiss.IndexHNSWFlat(vectors.shape[1], parameters.links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = parameters.build_effort
        for start in range(0, len(vectors), COSINE_BLOCK):
            index.add(np.ascontiguousarray(vectors[start : start + COSINE_BLOCK], dtype=np.float32))
        faiss.write_index(index, str(path))

    def search(self, query_vectors: NDArray[np.float32], k: int) -> Hits:
        """See `FirstStage.search`; a query for which the graph leads to fewer than k is searched exactly."""
        effort = max(self._parameters.search_effort, 2 * k)
        parameters = import_faiss().SearchParametersHNSW(efSearch=effort)
        cosines, rows = self._index.search(query_vectors, k, params=parameters)
        short = np.flatnonzero((rows < 0).any(axis=1))
        if len(short):
            rows[short], cosines[short] = self._exact.search(query_vectors[short], k)
        return rows, cosines


def stacked(best: list[Best], k: int) -> Hits:
    """The results of all queries as two arrays (queries, k)."""
    if not best:
        return np.empty((0, k), dtype=np.int64), np.empty((0, k), dtype=np.float32)
    rows, scores = zip(*(kept.result() for kept in best), strict=True)
    return np.stack(rows), np.stack(scores)


def import_faiss() -> ModuleType:
    """The faiss module, imported where a graph is first needed."""
    try:
        import faiss  # noqa: PLC0415 -- small indexes work without it
    except ImportError as error:
        raise InputError(
            "an index of this size is searched with FAISS, which is not installed",
            remedy="pip install 'limbeck[dense]'",
        ) from error
    return faiss
