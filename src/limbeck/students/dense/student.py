"""The dense student of D2LLM (arXiv 2406.17262): an encoder with attention pooling and an interaction module.

The two are one `SentenceTransformer`: its embeddings serve wherever those of any other do, and its last
module scores pairs of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize

from limbeck.encoders import encode
from limbeck.errors import InputError
from limbeck.indexes.vectors import InteractionWeights
from limbeck.students.dense.backbone import load_backbone, pooling_module
from limbeck.students.dense.interaction import InteractionModule
from limbeck.students.dense.pooling import PMA


class DenseStudent:
    """An encoder (transformer and PMA) with its interaction module.

    Args:
        model: a `SentenceTransformer` whose last module is an `InteractionModule`.

    Raises:
        InputError: it is not.

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
        layers: int | None = None,
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
            layers: how many of the backbone's first transformer layers it has; None keeps all.
            pooling_start: `"backbone"` (exactly its own pooling) or `"random"` (as published).
            interaction_start: `"cosine"` (exactly the scaled cosine) or `"random"` (as published).
            heads: attention heads of the PMA.
            hidden: width of the interaction's first layer.
            features: width of its branches.
            seed: of the parts that start at random.
            device: where the model lives; None takes the best there is.

        Raises:
            InputError: the backbone cannot be loaded or has no single pooling, `heads` do not divide its
                width, or an unknown start.
        """
        model = load_backbone(backbone, max_length, device, layers=layers)
        pooling = pooling_module(model)
        # The caller's random numbers stay what they were.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            attention = PMA(
                pooling.embedding_dimension,
                heads=heads,
                start=pooling_start,
                pooling_mode=str(pooling.pooling_mode),
                include_prompt=pooling.include_prompt,
            )
            modules = [
                attention if module is pooling else module
                for module in model
                if not isinstance(module, Normalize)
            ]
            dimension = model.get_embedding_dimension()
            if dimension is None:
                raise InputError(f"the backbone '{backbone}' does not say how wide its vectors are")
            modules += [
                Normalize(),
                InteractionModule(dimension, hidden=hidden, features=features, start=interaction_start),
            ]
        student = SentenceTransformer(
            modules=modules,
            device=str(model.device),
            prompts={name: prompt or "" for name, prompt in model.prompts.items()},
            default_prompt_name=model.default_prompt_name,
        )
        return cls(student)

    @classmethod
    def load(cls, folder: Path | str, device: str | None = None) -> DenseStudent:
        """Reads a saved student.

        Args:
            folder: what `save` wrote.
            device: where the model lives; None takes the best there is.

        Raises:
            InputError: the folder does not hold a student, or not all of one.
        """
        if not (Path(folder) / "modules.json").is_file():
            raise InputError(
                "there is no student here", path=folder, remedy="distil one with `limbeck distil`"
            )
        try:
            # The flag admits this package's own modules, which are not among the library's.
            model = SentenceTransformer(str(folder), device=device, trust_remote_code=True)
        except (KeyError, OSError, TypeError, ValueError, SafetensorError) as error:
            raise InputError(
                f"the student cannot be read: {str(error).splitlines()[0]}",
                path=folder,
                remedy="distil it again with `limbeck distil`",
            ) from error
        return cls(model)

    def save(self, folder: Path | str) -> None:
        """Writes the student; `SentenceTransformer(folder, trust_remote_code=True)` reads it too."""
        self.model.save(str(folder), create_model_card=False)

    def encode(
        self, texts: Sequence[str], *, batch_size: int = 64, query: bool = False
    ) -> NDArray[np.float32]:
        """Vectors of texts.

        Args:
            texts: passages, as `Passage.content` gives them, or queries.
            batch_size: texts a forward pass.
            query: whether the texts are queries; some backbones put different prompts before the two.

        Returns:
            (texts, dimension), L2-normalised.
        """
        return encode(self.model, texts, batch_size, query=query)

    @torch.inference_mode()
    def score(self, query: str, passages: Sequence[str], task: str = "asymmetric") -> NDArray[np.float32]:
        """Logits of a query with each passage.

        Args:
            query: its text.
            passages: texts, as `Passage.content` gives them; one or more.
            task: branch of the interaction, `"symmetric"` or `"asymmetric"`.

        Returns:
            (passages,).
        """
        asked = torch.from_numpy(self.encode([query], query=True)).to(self.model.device)
        given = torch.from_numpy(self.encode(passages)).to(self.model.device)
        logits: NDArray[np.float32] = (
            self.interaction.score(asked, given.unsqueeze(0), task).logits[0].cpu().numpy()
        )
        return logits

    def interaction_weights(self, task: str = "asymmetric") -> InteractionWeights:
        """The interaction module as plain arrays, for an index.

        Args:
            task: branch of the interaction, `"symmetric"` or `"asymmetric"`.
        """
        weights = {
            name: value.detach().float().cpu().numpy()
            for name, value in self.interaction.state_dict().items()
        }
        return InteractionWeights(
            query_half=weights["query_half.weight"],
            hidden_bias=weights["query_half.bias"],
            passage_half=weights["passage_half.weight"],
            branch=weights[f"branches.{task}.weight"],
            branch_bias=weights[f"branches.{task}.bias"],
            output=weights[f"outputs.{task}.weight"][0],
            output_bias=float(weights[f"outputs.{task}.bias"][0]),
            # The published start has no cosine part.
            cosine_scale=float(weights.get("cosine_scale", 0.0)),
            cosine_bias=float(weights.get("cosine_bias", 0.0)),
        )
