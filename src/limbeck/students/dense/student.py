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
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn

from limbeck.encoders import encode
from limbeck.errors import InputError
from limbeck.indexes.vectors import InteractionWeights
from limbeck.students.dense.adapters import LoraSettings, add_adapters, merge_adapters
from limbeck.students.dense.backbone import load_backbone, pooling_module
from limbeck.students.dense.interaction import CosineInteraction, InteractionModule, PairScoring
from limbeck.students.dense.pooling import PMA


class DenseStudent:
    """An encoder (transformer and PMA) with its interaction module.

    Args:
        model: a `SentenceTransformer` whose last module is a `PairScoring`.

    Raises:
        InputError: it is not.

    Example:
        >>> student = DenseStudent.start("all-MiniLM-L6-v2")  # doctest: +SKIP
        >>> student.encode(["sort a list by length"]).shape  # doctest: +SKIP
        (1, 384)
    """

    def __init__(self, model: SentenceTransformer) -> None:
        last = model[-1]
        if not isinstance(last, PairScoring):
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
        pooling: str = "attention",
        pooling_start: str = "backbone",
        interaction: str = "module",
        interaction_start: str = "cosine",
        heads: int = 32,
        hidden: int = 512,
        features: int = 128,
        branches: str = "task",
        lora: LoraSettings | None = None,
        seed: int = 0,
        device: str | None = None,
    ) -> DenseStudent:
        """A student at step 0.

        Args:
            backbone: folder, packaged name or hub id of an encoder or decoder.
            max_length: tokens of a text that are read.
            layers: how many of the backbone's first transformer layers it has; None keeps all.
            pooling: `"attention"` (PMA), or a plain pooling in its place: `"mean"`, `"lasttoken"`, `"cls"`.
            pooling_start: `"backbone"` (exactly its own pooling) or `"random"` (as published).
            interaction: `"module"` (IEM), or the scaled `"cosine"` in its place.
            interaction_start: `"cosine"` (exactly the scaled cosine) or `"random"` (as published).
            heads: attention heads of the PMA.
            hidden: width of the interaction's first layer.
            features: width of its branches.
            branches: `"task"` (one for each kind of task) or `"shared"` (one for all).
            lora: adapters with which the backbone learns; None lets all of its weights learn.
            seed: of the parts that start at random.
            device: where the model lives; None takes the best there is.

        Raises:
            InputError: the backbone cannot be loaded or has no single pooling, `heads` do not divide its
                width, or an unknown start.
        """
        model = load_backbone(backbone, max_length, device, layers=layers)
        own = pooling_module(model)
        dimension = model.get_embedding_dimension()
        if dimension is None:
            raise InputError(f"the backbone '{backbone}' does not say how wide its vectors are")
        # The caller's random numbers stay what they were.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if lora is not None:
                add_adapters(model, lora)
            pooled: nn.Module = (
                PMA(
                    own.embedding_dimension,
                    heads=heads,
                    start=pooling_start,
                    pooling_mode=str(own.pooling_mode),
                    include_prompt=own.include_prompt,
                )
                if pooling == "attention"
                else Pooling(own.embedding_dimension, pooling, own.include_prompt)
            )
            scoring: PairScoring = (
                InteractionModule(dimension, hidden, features, interaction_start, branches)
                if interaction == "module"
                else CosineInteraction(dimension)
            )
        kept = [pooled if module is own else module for module in model if not isinstance(module, Normalize)]
        modules = [*kept, Normalize(), scoring]
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
        """Writes the student; `SentenceTransformer(folder, trust_remote_code=True)` reads it too.

        Adapters are merged into the weights first, in this student as well.
        """
        merge_adapters(self.model)
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
        return self.interaction.weights(task)
