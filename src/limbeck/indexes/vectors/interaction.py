"""The interaction module's weights as plain arrays: what an index needs of a student, and no more."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class InteractionWeights:
    """One task branch of the interaction emulation module (IEM).

    For a query vector y_q and a passage vector y_p, both of length 1:

        h     = ReLU(query_half · y_q + passage_half · y_p + hidden_bias)
        logit = cosine_scale · (y_q · y_p) + cosine_bias
                + output · ReLU(branch · h + branch_bias) + output_bias

    The product passage_half · y_p does not depend on the query; an index holds it for each passage.

    Source: D2LLM, arXiv 2406.17262, the interaction emulation module, with a scaled cosine beside it
    (cosine_scale 0 gives the published module).

    Attributes:
        query_half: (hidden, dim) float32.
        passage_half: (hidden, dim) float32.
        hidden_bias: (hidden,) float32.
        branch: (feature, hidden) float32.
        branch_bias: (feature,) float32.
        output: (feature,) float32.
        output_bias: number.
        cosine_scale: number.
        cosine_bias: number.

    Raises:
        InputError: the shapes do not fit each other, or a weight is NaN or infinite.
    """

    query_half: NDArray[np.float32]
    passage_half: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    branch: NDArray[np.float32]
    branch_bias: NDArray[np.float32]
    output: NDArray[np.float32]
    output_bias: float
    cosine_scale: float
    cosine_bias: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = np.asarray(getattr(self, field.name), dtype=np.float32)
            if not np.isfinite(value).all():
                raise InputError(f"the interaction weights '{field.name}' contain NaN or infinity")
            is_number = field.name in {"output_bias", "cosine_scale", "cosine_bias"}
            if value.ndim != 0 or not is_number:
                object.__setattr__(self, field.name, np.ascontiguousarray(value))
            else:
                object.__setattr__(self, field.name, float(value))
        shapes = {field.name: np.shape(getattr(self, field.name)) for field in fields(self)}
        if len(shapes["branch"]) != 2 or len(shapes["query_half"]) != 2:
            raise InputError(
                f"the interaction weights have shapes {shapes}", expected="matrices for the layers"
            )
        (feature, hidden), dim = shapes["branch"], shapes["query_half"][1]
        expected = {
            "query_half": (hidden, dim),
            "passage_half": (hidden, dim),
            "hidden_bias": (hidden,),
            "branch": (feature, hidden),
            "branch_bias": (feature,),
            "output": (feature,),
            "output_bias": (),
            "cosine_scale": (),
            "cosine_bias": (),
        }
        wrong = {name: shape for name, shape in shapes.items() if shape != expected[name]}
        if wrong:
            raise InputError(
                f"the interaction weights have shapes {wrong}",
                expected=str({name: expected[name] for name in wrong}),
            )

    @property
    def dim(self) -> int:
        """The length of a text's vector."""
        return int(self.query_half.shape[1])

    @property
    def hidden(self) -> int:
        """The width of the first layer, which is that of a stored passage half."""
        return int(self.query_half.shape[0])

    def query_halves(self, query_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The query's share of the first layer, its bias included: (queries, dim) to (queries, hidden)."""
        return query_vectors @ self.query_half.T + self.hidden_bias

    def passage_halves(self, passage_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The passage's share of the first layer: (passages, dim) to (passages, hidden)."""
        return passage_vectors @ self.passage_half.T

    def to_bytes(self) -> bytes:
        """The weights as an .npz file without pickles."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def load(cls, path: Path) -> InteractionWeights:
        """Reads what `to_bytes` gave; InputError where the file is something else."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except (KeyError, OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"the interaction weights cannot be read ({error})",
                path=path,
                expected="the file that the build of the index wrote",
                remedy="build the index again",
            ) from error
