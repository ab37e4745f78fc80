"""The interaction emulation module (IEM): a small network in place of the teacher's cross-attention.

D2LLM, arXiv 2406.17262, section 3.2.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import torch
from sentence_transformers.base.modules import Module
from torch import Tensor, nn

#: Task types, each with a branch of its own: the texts say the same; the passage answers the query.
TASKS = ("symmetric", "asymmetric")
COSINE_SCALE = 20.0

#: What the library passes to `Module.load` that says where on the hub weights are.
_HUB_OPTIONS = ("token", "cache_folder", "revision", "local_files_only")


class Interaction(NamedTuple):
    """What the module says of pairs: logits (…) and the features (…, features) that they come from."""

    logits: Tensor
    features: Tensor


class InteractionModule(Module):
    """Logit of a pair from the vectors of its two texts.

    `h = ReLU(W_q y_q + W_p y_p + b)`, `f = ReLU(W_task h)`, `z = w_task · f`. The passage half `W_p y_p`
    does not depend on the query, so an index computes it once.

    Two starts (METHODS 2.2): `start="cosine"` adds `scale · cos(y_q, y_p) + bias` and begins with `w = 0`,
    so that step 0 ranks as the backbone does, and the cosine part stays what a vector index searches;
    `start="random"` is the published one, without that part.

    As a module of a `SentenceTransformer` it passes embeddings through unchanged, so that the library
    saves, loads and trains it together with the encoder.

    Args:
        embedding_dimension: width of a text's vector; vectors are L2-normalised.
        hidden: width of `h` (published: 512).
        features: width of `f`.
        start: `"cosine"` or `"random"`.

    Example:
        >>> iem = InteractionModule(embedding_dimension=4)
        >>> y = nn.functional.normalize(torch.ones(1, 4), dim=-1)
        >>> iem.score(y, y.unsqueeze(1)).logits
        tensor([[20.]], grad_fn=<AddBackward0>)
    """

    config_keys: list[str] = ["embedding_dimension", "hidden", "features", "start"]

    def __init__(
        self, embedding_dimension: int, hidden: int = 512, features: int = 128, start: str = "cosine"
    ) -> None:
        super().__init__()
        if start not in {"cosine", "random"}:
            raise ValueError(f"unknown start {start!r} of the interaction: use 'cosine' or 'random'")
        self.embedding_dimension = embedding_dimension
        self.hidden = hidden
        self.features = features
        self.start = start
        self.query_half = nn.Linear(embedding_dimension, hidden)
        self.passage_half = nn.Linear(embedding_dimension, hidden, bias=False)
        self.branches = nn.ModuleDict({task: nn.Linear(hidden, features) for task in TASKS})
        self.outputs = nn.ModuleDict({task: nn.Linear(features, 1) for task in TASKS})
        if start == "cosine":
            self.cosine_scale = nn.Parameter(torch.tensor(COSINE_SCALE))
            self.cosine_bias = nn.Parameter(torch.tensor(0.0))
            for output in self.outputs.values():
                nn.init.zeros_(output.weight)
                nn.init.zeros_(output.bias)

    def forward(self, features: dict[str, Any], **_: object) -> dict[str, Any]:
        """Passes a batch of embeddings through unchanged."""
        return features

    def score(self, queries: Tensor, passages: Tensor, task: str = "asymmetric") -> Interaction:
        """Scores every passage against its query.

        Args:
            queries: (batch, dimension), L2-normalised.
            passages: (batch, list, dimension), or (1, list, dimension) to score one pool for all queries.
            task: which branch, one of `TASKS`.

        Returns:
            logits (batch, list) and features (batch, list, features).
        """
        hidden = torch.relu(self.query_half(queries).unsqueeze(1) + self.passage_half(passages))
        branch = torch.relu(self.branches[task](hidden))
        logits = self.outputs[task](branch).squeeze(-1)
        if self.start == "cosine":
            cosine = (passages @ queries.unsqueeze(-1)).squeeze(-1)
            logits = self.cosine_scale * cosine + self.cosine_bias + logits
        return Interaction(logits, branch)

    def get_embedding_dimension(self) -> int:
        """Width of the vectors, which pass unchanged."""
        return self.embedding_dimension

    def save(self, output_path: str, *_: object, safe_serialization: bool = True, **__: object) -> None:
        """Writes configuration and weights into a folder."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Self:  # type: ignore[override]
        """Reads what `save` wrote, from a folder or from the hub."""
        hub = {key: kwargs[key] for key in _HUB_OPTIONS if key in kwargs}
        module = cls(**cls.load_config(model_name_or_path, subfolder=subfolder, **hub))
        cls.load_torch_weights(model_name_or_path, subfolder=subfolder, model=module, **hub)
        return module
