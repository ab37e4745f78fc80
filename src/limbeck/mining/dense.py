"""Dense mining: the passages whose embeddings are nearest to the query's.

Design facts:
- The corpus is encoded once, block by block (within a block the longest first, so that little is padding),
  into a float32 file that is mapped; memory holds one block.
- Search goes through the file in blocks for a block of queries, keeping the best so far: memory is
  (query block) × (passage block), whatever the sizes of both.
- Similarity is the inner product of normalised embeddings, the cosine.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limbeck.data import RankedList
from limbeck.encoders import encode, load_encoder, model_digest
from limbeck.errors import InputError
from limbeck.files import atomic_folder
from limbeck.mining.blocks import blocks_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from limbeck.data import Passages, Query

ENCODE_BLOCK = 2048
SEARCH_BLOCK = 16_384
QUERY_BLOCK = 256

_VECTORS = "vectors.npy"
_SETTINGS = "limbeck.json"


class DenseMiner:
    """Candidates by cosine similarity.

    Args:
        model: a SentenceTransformer, or the folder or hub id of one.
        passages: what is searched.
        folder: where the embeddings are kept, to be used again when passages and weights are the same; None
            for a temporary folder.
        batch_size: texts a forward pass.
        name: the source that the rankings name.
        progress: called with the number of passages encoded since the last call.

    Example:
        >>> miner = DenseMiner("sentence-transformers/all-MiniLM-L6-v2", passages)
        >>> next(miner.mine(queries, depth=50)).passage_ids
    """

    def __init__(
        self,
        model: SentenceTransformer | str | os.PathLike[str],
        passages: Passages,
        *,
        folder: str | os.PathLike[str] | None = None,
        batch_size: int = 64,
        name: str = "dense",
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.name = name
        self.passages = passages
        self._model = load_encoder(model)
        self._batch_size = batch_size
        if folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="limbeck-dense-")
            folder = self._temporary.name
        self.folder = Path(folder) / "embeddings"
        settings = {"passages": passages.fingerprint, "weights": model_digest(self._model)}
        if not self._kept(settings):
            self._encode(settings, progress)
        self._vectors: NDArray[np.float32] = np.load(
            self.folder / _VECTORS,
            mmap_mode="c",  # torch wants memory that looks writable
        )

    def mine(self, queries: Iterable[Query], depth: int) -> Iterator[RankedList]:
        """One list of `depth` passages (or all, when there are fewer) for each query."""
        if depth < 1:
            raise InputError(f"the depth is {depth}", expected="at least 1")
        for block in blocks_of(queries, QUERY_BLOCK):
            vectors = encode(self._model, [query.text for query in block], self._batch_size, query=True)
            rows, scores = top_rows(vectors, self._vectors, depth)
            for query, query_rows, query_scores in zip(block, rows, scores, strict=True):
                yield RankedList(query.id, self.passages.ids(query_rows), query_scores.astype(np.float64))

    def _kept(self, settings: dict[str, str]) -> bool:
        path = self.folder / _SETTINGS
        return path.is_file() and json.loads(path.read_text("utf-8")) == settings

    def _encode(self, settings: dict[str, str], progress: Callable[[int], None] | None) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)  # of other passages or weights
        with atomic_folder(self.folder) as staging:
            vectors: NDArray[np.float32] | None = None
            start = 0
            for batch in self.passages.batches(ENCODE_BLOCK):
                found = encode(self._model, [passage.content for passage in batch], self._batch_size)
                if vectors is None:
                    shape = (len(self.passages), found.shape[1])
                    vectors = np.lib.format.open_memmap(staging / _VECTORS, "w+", np.float32, shape)
                vectors[start : start + len(batch)] = found
                start += len(batch)
                if progress is not None:
                    progress(len(batch))
            del vectors  # flushes the map
            (staging / _SETTINGS).write_text(json.dumps(settings) + "\n", encoding="utf-8")


def top_rows(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], depth: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The rows of `vectors` with the largest inner products, by blocks.

    Args:
        queries: (queries, dimensions).
        vectors: (passages, dimensions), may be mapped from disk.
        depth: how many rows a query.

    Returns:
        Rows and inner products, both (queries, min(depth, passages)), best first, equal ones by row.
    """
    import torch  # noqa: PLC0415  # takes seconds

    rows = np.zeros((len(queries), 0), np.int64)
    scores = np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(vectors), SEARCH_BLOCK):
        block = np.asarray(vectors[start : start + SEARCH_BLOCK])
        # Not by numpy: its threads would wait for the cores that torch's, fresh from encoding, still hold.
        products = (torch.from_numpy(queries) @ torch.from_numpy(block).T).numpy()
        new_rows = np.broadcast_to(np.arange(start, start + len(block)), (len(queries), len(block)))
        rows = np.concatenate([rows, new_rows], axis=1)
        scores = np.concatenate([scores, products], axis=1)
        if scores.shape[1] > depth:
            kept = _largest(scores, depth)
            rows, scores = rows[kept].reshape(-1, depth), scores[kept].reshape(-1, depth)
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)


def _largest(scores: NDArray[np.float32], depth: int) -> NDArray[np.bool_]:
    """A mask of the `depth` largest scores of each line (lines, columns); of equal ones the first."""
    least = -np.partition(-scores, depth - 1, axis=1)[:, depth - 1 : depth]
    above, equal = scores > least, scores == least
    room = depth - above.sum(axis=1, keepdims=True)
    return np.asarray(above | (equal & (np.cumsum(equal, axis=1) <= room)), bool)
