"""Pooling by multi-head attention (PMA): one vector a text, from all its token states.

Lee et al. 2019, *Set Transformer*, arXiv 1810.00825; as the pooling of D2LLM, arXiv 2406.17262.
"""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.students.dense.saved_module import SavedModule


class AttentionPooling(nn.Module):
    """One learned seed attends over the token states of a text: PMA with one seed vector.

    With the seed `S` (1, dimension) and the token states `X` (tokens, dimension),
    `O = LayerNorm(S + Attention(S, X, X))`, and the vector is `LayerNorm(O + ReLU(W O + b))`.

    Source: Lee et al. 2019, arXiv 1810.00825, section 3 (the blocks MAB and PMA), less PMA's feed-forward
    layer on the token states, which the backbone's last layer makes superfluous.

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


class PMA(SavedModule):
    """Attention pooling as a module of a `SentenceTransformer`, in place of its pooling.

    Two starts:

    - `start="backbone"`, the default: the backbone's own pooling, plus the attention behind a linear
      branch whose weights are zero. At step 0 the vector is exactly the backbone's, so little data suffices.
    - `start="random"`: the attention alone, initialised at random, as published.

    Args:
        embedding_dimension: width of a token state, and of the vector.
        heads: attention heads (published: 32); must divide the dimension.
        start: `"backbone"` or `"random"`.
        pooling_mode: the backbone's own pooling (`mean`, `cls`, `lasttoken`, …), for `start="backbone"`.
        include_prompt: whether the backbone's own pooling looks at the tokens of a prompt.

    Raises:
        InputError: the heads do not divide the dimension, or an unknown start.

    Example:
        >>> pma = PMA(embedding_dimension=8, heads=2)
        >>> features = {"token_embeddings": torch.ones(1, 3, 8), "attention_mask": torch.ones(1, 3)}
        >>> pma(features)["sentence_embedding"].shape
        torch.Size([1, 8])
    """

    config_keys: list[str] = ["embedding_dimension", "heads", "start", "pooling_mode", "include_prompt"]

    def __init__(
        self,
        embedding_dimension: int,
        heads: int = 32,
        start: str = "backbone",
        pooling_mode: str = "mean",
        *,
        include_prompt: bool = True,
    ) -> None:
        super().__init__()
        if embedding_dimension % heads:
            raise InputError(
                f"{heads} attention heads do not divide the backbone's {embedding_dimension} dimensions",
                expected=f"a divisor of {embedding_dimension}",
                remedy="set `student.heads` in the recipe",
            )
        if start not in {"backbone", "random"}:
            raise InputError(f"unknown start '{start}' of the pooling", expected="'backbone' or 'random'")
        self.embedding_dimension = embedding_dimension
        self.heads = heads
        self.start = start
        self.pooling_mode = pooling_mode
        self.include_prompt = include_prompt
        self.attention_pooling = AttentionPooling(embedding_dimension, heads)
        if start == "backbone":
            self.base = Pooling(embedding_dimension, pooling_mode, include_prompt)
            self.branch = nn.Linear(embedding_dimension, embedding_dimension)
            nn.init.zeros_(self.branch.weight)
            nn.init.zeros_(self.branch.bias)

    def forward(self, features: dict[str, Any], **_: object) -> dict[str, Any]:
        """Pools the token states of a batch.

        Args:
            features: with `token_embeddings` (batch, tokens, dimension) and `attention_mask`
                (batch, tokens).

        Returns:
            The same features with `sentence_embedding` (batch, dimension).
        """
        tokens, mask = features["token_embeddings"], features["attention_mask"]
        pooled = self.attention_pooling(tokens, mask)
        if self.start == "backbone":
            pooled = self.base(features)["sentence_embedding"] + self.branch(pooled)
        features["sentence_embedding"] = pooled
        return features

    def get_embedding_dimension(self) -> int:
        """Width of the vector."""
        return self.embedding_dimension
