"""The dense student: an encoder with attention pooling, and the interaction module behind it.

D2LLM, arXiv 2406.17262, section 3.2. The student is one `SentenceTransformer`; its embeddings work wherever
those of any other do, and its last module scores pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from sentence_transformers.sentence_transformer.modules import Pooling

from limbeck.errors import InputError
from limbeck.indexes.vectors import InteractionWeights
from limbeck.students.dense.backbone import load_backbone, pooling_mode
from limbeck.students.dense.interaction import InteractionModule
from limbeck.students.dense.pooling import PMA
from limbeck.students.dense.precision import autocast


class DenseStudent:
    """An encoder (transformer + PMA) with its interaction module.

    Args:
        model: a `SentenceTransformer` whose last module is an `InteractionModule`.

    Example:
        >>> student = DenseStudent.start("all-MiniLM-L6-v2")  # doctest: +SKIP
        >>> student.encode(["sort a list by length"]).shape  # doctest: +SKIP
        (1, 384)
    """

    def __init__(self, model: SentenceTransformer) -> None:
        last = model[-1]
        if not isinstance(last, InteractionModule):
            raise InputError(
                "the model has no interaction module",
                expected="a student that Limbeck saved",
                remedy="distil one with `limbeck distil`",
            )
        self.model = model
        self.interaction = last

    @classmethod
    def start(
        cls,
        backbone: str,
        *,
        max_length: int = 128,
        pooling_start: str = "backbone",
        interaction_start: str = "cosine",
        heads: int = 32,
        hidden: int = 512,
        features: int = 128,
        seed: int = 0,
        device: str | None = None,
    ) -> DenseStudent:
        """A student at step 0.

        Args:
            backbone: folder, packaged name or hub id of an encoder or decoder.
            max_length: tokens of a text that are read.
            pooling_start: `backbone` (exactly its own pooling) or `random` (as published).
            interaction_start: `cosine` (exactly the scaled cosine) or `random` (as published).
            heads: attention heads of the PMA.
            hidden: width of the interaction's first layer.
            features: width of its branches.
            seed: of the parts that start at random.
            device: where the model lives; None takes the best there is.
        """
        model = load_backbone(backbone, max_length, device)
        mode = pooling_mode(model)
        torch.manual_seed(seed)
        modules: list[torch.nn.Module] = []
        for module in model:
            if isinstance(module, Pooling):
                width = module.embedding_dimension
                modules.append(PMA(width, heads=heads, start=pooling_start, pooling_mode=mode))
            elif not isinstance(module, Normalize):
                modules.append(module)
        dimension = model.get_embedding_dimension()
        if dimension is None:
            raise InputError(f"the backbone '{backbone}' does not say how wide its vectors are")
        modules.append(Normalize())
        modules.append(
            InteractionModule(dimension, hidden=hidden, features=features, start=interaction_start)
        )
        student = SentenceTransformer(modules=modules, device=str(model.device))
        student.max_seq_length = max_length
        return cls(student)

    @classmethod
    def load(cls, folder: Path | str, device: str | None = None) -> DenseStudent:
        """Reads a saved student.

        Raises:
            InputError: the folder does not hold one.
        """
        if not (Path(folder) / "modules.json").is_file():
            raise InputError(
                "there is no student here", path=folder, remedy="distil one with `limbeck distil`"
            )
        # The flag admits this package's own modules, which the library does not know.
        return cls(SentenceTransformer(str(folder), device=device, trust_remote_code=True))

    def save(self, folder: Path | str) -> None:
        """Writes the student; `SentenceTransformer(folder, trust_remote_code=True)` reads it too."""
        self.model.save(str(folder), create_model_card=False)

    def encode(
        self, texts: Sequence[str], *, batch_size: int = 64, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Vectors of texts: (texts, dimension), L2-normalised."""
        return encode(self.model, texts, batch_size=batch_size, progress=progress)

    @torch.inference_mode()
    def score(self, query: str, passages: Sequence[str], task: str = "asymmetric") -> NDArray[np.float32]:
        """Logits of a query with each passage: (passages,)."""
        vectors = torch.from_numpy(self.encode([query, *passages])).to(self.model.device)
        return self.interaction.score(vectors[:1], vectors[1:].unsqueeze(0), task).logits[0].cpu().numpy()

    def interaction_weights(self, task: str = "asymmetric") -> InteractionWeights:
        """The interaction module as plain arrays, for an index."""
        iem = self.interaction

        def array(tensor: torch.Tensor) -> NDArray[np.float32]:
            return tensor.detach().float().cpu().numpy()

        cosine = iem.start == "cosine"
        return InteractionWeights(
            query_half=array(iem.query_half.weight),
            hidden_bias=array(iem.query_half.bias),
            passage_half=array(iem.passage_half.weight),
            branch=array(iem.branches[task].weight),
            branch_bias=array(iem.branches[task].bias),
            output=array(iem.outputs[task].weight[0]),
            output_bias=float(iem.outputs[task].bias),
            cosine_scale=float(iem.cosine_scale) if cosine else 0.0,
            cosine_bias=float(iem.cosine_bias) if cosine else 0.0,
        )


def encode(
    model: SentenceTransformer,
    texts: Sequence[str],
    *,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Vectors of texts by any encoder, in the fastest precision that the device computes well.

    Args:
        model: a student or any other `SentenceTransformer`.
        texts: what to encode, in any order of length.
        batch_size: texts a forward pass; texts of like length go together.
        progress: called with the number of texts done since the last call.

    Returns:
        (texts, dimension), L2-normalised.
    """
    if not texts:
        return np.zeros((0, model.get_embedding_dimension() or 0), dtype=np.float32)
    order = np.argsort([-len(text) for text in texts], kind="stable")
    out: NDArray[np.float32] | None = None
    with autocast(model.device):
        for start in range(0, len(texts), batch_size):
            rows = order[start : start + batch_size]
            block = model.encode(
                [texts[row] for row in rows],
                batch_size=batch_size,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
            if out is None:
                out = np.empty((len(texts), block.shape[1]), dtype=np.float32)
            out[rows] = block
            if progress is not None:
                progress(len(rows))
    assert out is not None  # noqa: S101 - there is at least one text
    return out
