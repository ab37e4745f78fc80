"""Writes the files of a vector index, block by block."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.errors import InputError
from limbeck.indexes.vectors import storage
from limbeck.indexes.vectors.first_stage import HnswFirstStage, HnswParameters

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from limbeck.indexes.vectors.interaction import InteractionWeights

FILES = {
    "vectors": "vectors.npy",
    "halves": "passage_halves.npy",
    "interaction": "interaction.npz",
    "id_text": "id_text.npy",
    "id_ends": "id_ends.npy",
    "graph": "graph.faiss",
}
# bfloat16 vectors of length 1 are off by up to 0.4 %; unnormalised ones by far more than this.
_LENGTH_TOLERANCE = 0.01
_IDS_AT_ONCE = 65_536


class Builder:
    """Fills a directory with vectors, passage halves, ids and the header, in this order.

    Args:
        directory: an empty directory.
        interaction: the module whose passage half is precomputed, if any.
        vector_type: the type in which vectors are stored.
        half_type: the type in which passage halves are stored.
    """

    def __init__(
        self, directory: Path, interaction: InteractionWeights | None, *, vector_type: str, half_type: str
    ) -> None:
        for name, value in (("vector_type", vector_type), ("half_type", half_type)):
            if value not in {"float32", "float16"}:
                raise InputError(f"{name} is '{value}'", expected="'float32' or 'float16'")
        self.passages = 0
        self._directory = directory
        self._interaction = interaction
        self._vector_type, self._half_type = vector_type, half_type
        self._dim, self._id_bytes = 0, 0
        self._files: dict[str, dict[str, Any]] = {}

    def add_vectors(self, blocks: Iterable[NDArray[np.floating]]) -> None:
        """Writes the vectors, and the passage halves that follow from them."""
        writers: dict[str, storage.ArrayWriter] = {}
        try:
            for block in blocks:
                vectors = self._checked(np.asarray(block))
                if not writers:
                    writers = self._writers(vectors.shape[1])
                writers["vectors"].append(vectors)
                if self._interaction is not None:
                    # From the vectors as stored, so that both parts of the score see the same passage.
                    stored = vectors.astype(self._vector_type).astype(np.float32)
                    writers["halves"].append(self._interaction.passage_halves(stored))
                self.passages += len(vectors)
            if not self.passages:
                raise InputError("there are no vectors to index", expected="at least one passage")
            for name, writer in writers.items():
                self._files[FILES[name]] = writer.finish()
        finally:
            for writer in writers.values():
                writer.close()
        if self._interaction is not None:
            path = self._directory / FILES["interaction"]
            self._files[path.name] = storage.write_file(path, self._interaction.to_bytes())

    def add_ids(self, ids: Iterable[str]) -> None:
        """Writes the ids as one text, and where each ends in it."""
        text = storage.ArrayWriter(self._directory / FILES["id_text"], (), np.uint8)
        ends = storage.ArrayWriter(self._directory / FILES["id_ends"], (), np.int64)
        encoded: list[bytes] = []

        def flush() -> None:
            text.append(np.frombuffer(b"".join(encoded), dtype=np.uint8))
            ends.append(text.rows - sum(map(len, encoded)) + np.cumsum([len(one) for one in encoded]))
            encoded.clear()

        try:
            for passage_id in ids:
                encoded.append(passage_id.encode())
                if len(encoded) == _IDS_AT_ONCE:
                    flush()
            if encoded:
                flush()
            if ends.rows != self.passages:
                raise InputError(
                    f"{ends.rows} ids came with {self.passages} vectors", expected="one id for each vector"
                )
            self._files[FILES["id_text"]] = text.finish()
            self._files[FILES["id_ends"]] = ends.finish()
            self._id_bytes = text.rows
        finally:
            text.close()
            ends.close()

    def finish(self, graph: HnswParameters | None) -> None:
        """Builds the graph if one is wanted, and writes the header."""
        if graph is not None:
            path = self._directory / FILES["graph"]
            vectors = storage.map_array(
                self._directory / FILES["vectors"], (self.passages, self._dim), self._vector_type
            )
            HnswFirstStage.build(path, vectors, graph)
            self._files[path.name] = storage.describe_file(path)
        header = {
            "passages": self.passages,
            "dim": self._dim,
            "hidden": None if self._interaction is None else self._interaction.hidden,
            "vector_type": self._vector_type,
            "half_type": self._half_type,
            "id_bytes": self._id_bytes,
            "graph": None if graph is None else asdict(graph),
            "files": self._files,
        }
        storage.write_header(self._directory, header)

    def _writers(self, dim: int) -> dict[str, storage.ArrayWriter]:
        self._dim = dim
        writers = {
            "vectors": storage.ArrayWriter(self._directory / FILES["vectors"], (dim,), self._vector_type)
        }
        if self._interaction is not None:
            path = self._directory / FILES["halves"]
            writers["halves"] = storage.ArrayWriter(path, (self._interaction.hidden,), self._half_type)
        return writers

    def _checked(self, block: NDArray[np.floating]) -> NDArray[np.float32]:
        """The block as float32, if its vectors can be indexed."""
        expected_dim = self._interaction.dim if self._interaction is not None else self._dim
        if block.ndim != 2 or (expected_dim and block.shape[1] != expected_dim) or not block.shape[1]:
            raise InputError(
                f"a block of vectors has shape {block.shape}", expected=f"(block, {expected_dim or 'dim'})"
            )
        vectors = np.ascontiguousarray(block, dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) < _LENGTH_TOLERANCE))
        if len(wrong):
            raise InputError(
                f"the vector of passage {self.passages + int(wrong[0])} (from 0) has length "
                f"{lengths[wrong[0]]:.4g}",
                expected="finite vectors of length 1",
                remedy="normalise the vectors before they are indexed",
            )
        return vectors
