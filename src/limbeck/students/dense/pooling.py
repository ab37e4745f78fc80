"""Pooling by multi-head attention (PMA): one vector a text, from all its token states.

Lee et al. 2019, *Set Transformer*, section 3.2; used by D2LLM, arXiv 2406.17262, section 3.2.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from sentence_transformers.base.modules import Module
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn

#: What the library passes to `Module.load` that says where on the hub weights are.
_HUB_OPTIONS = ("token", "cache_folder", "revision", "local_files_only")


class AttentionPooling(nn.Module):
    """Learned seeds attend over the token states of a text.

    `O = LayerNorm(S + Attention(S, X, X))`, then `LayerNorm(O + ReLU(W O))`, with one seed `S`.

    Args:
        dimension: width of a token state.
        heads: attention heads; divides `dimension`.
    """

    def __init__(self, dimension: int, heads: int) -> None:
        super().__init__()
        self.seed = nn.Parameter(torch.empty(1, 1, dimension))
        nn.init.xavier_uniform_(self.seed)
        self.attention = nn.MultiheadAttention(dimension, heads, batch_first=True)
        self.attention_norm = nn.LayerNorm(dimension)
        self.feed_forward = nn.Linear(dimension, dimension)
        self.output_norm = nn.LayerNorm(dimension)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Pools token states.

        Args:
            tokens: (batch, tokens, dimension).
            mask: (batch, tokens); non-zero marks a real token, on whichever side the padding stands.

        Returns:
            (batch, dimension).
        """
        seeds = self.seed.to(tokens.dtype).expand(tokens.shape[0], -1, -1)
        attended, _ = self.attention(seeds, tokens, tokens, key_padding_mask=mask == 0, need_weights=False)
        pooled = self.attention_norm(seeds + attended)
        pooled = self.output_norm(pooled + torch.relu(self.feed_forward(pooled)))
        squeezed: Tensor = pooled.squeeze(1)
        return squeezed


class PMA(Module):
    """Attention pooling as a module of a `SentenceTransformer`, in place of its pooling.

    Two starts (METHODS 2.2):

    - `start="backbone"`: the backbone's own pooling plus an attention branch whose output projection is
      zero, so that step 0 *is* the backbone. The default; it needs far less data.
    - `start="random"`: the attention alone, initialised at random, as published.

    Args:
        embedding_dimension: width of a token state, and of the vector.
        heads: attention heads (published: 32); must divide the dimension.
        start: `"backbone"` or `"random"`.
        pooling_mode: the backbone's own pooling (`mean`, `cls`, `lasttoken`, …), for `start="backbone"`.

    Raises:
        ValueError: heads do not divide the dimension, or an unknown start.

    Example:
        >>> pma = PMA(embedding_dimension=8, heads=2)
        >>> features = {"token_embeddings": torch.ones(1, 3, 8), "attention_mask": torch.ones(1, 3)}
        >>> pma(features)["sentence_embedding"].shape
        torch.Size([1, 8])
    """

    config_keys: list[str] = ["embedding_dimension", "heads", "start", "pooling_mode"]

    def __init__(
        self, embedding_dimension: int, heads: int = 32, start: str = "backbone", pooling_mode: str = "mean"
    ) -> None:
        super().__init__()
        if embedding_dimension % heads:
            raise ValueError(f"{heads} attention heads do not divide the {embedding_dimension} dimensions")
        if start not in {"backbone", "random"}:
            raise ValueError(f"unknown start {start!r} of the pooling: use 'backbone' or 'random'")
        self.embedding_dimension = embedding_dimension
        self.heads = heads
        self.start = start
        self.pooling_mode = pooling_mode
        self.attention_pooling = AttentionPooling(embedding_dimension, heads)
        if start == "backbone":
            self.base = Pooling(embedding_dimension, pooling_mode)  # type: ignore[no-untyped-call]
            self.branch = nn.Linear(embedding_dimension, embedding_dimension)
            nn.init.zeros_(self.branch.weight)
            nn.init.zeros_(self.branch.bias)

    def forward(self, features: dict[str, Any], **_: object) -> dict[str, Any]:
        """Adds `sentence_embedding` (batch, dimension) to the features of a batch."""
        tokens, mask = features["token_embeddings"], features["attention_mask"]
        pooled = self.attention_pooling(tokens, mask)
        if self.start == "backbone":
            pooled = self.base(features)["sentence_embedding"] + self.branch(pooled)
        features["sentence_embedding"] = pooled
        return features

    def get_embedding_dimension(self) -> int:
        """Width of the vector."""
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
