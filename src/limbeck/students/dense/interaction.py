"""The interaction emulation module (IEM) of D2LLM: a small network that imitates the teacher's attention."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.students.dense.saved_module import SavedModule

#: Kinds of task, each with a branch of its own: do two texts say the same; does a passage answer a query.
TASKS = ("symmetric", "asymmetric")
#: What the cosine is multiplied by at step 0, so that logits spread as far as those of a cross-encoder.
COSINE_SCALE = 20.0


class Interaction(NamedTuple):
    """What the module says of pairs.

    Attributes:
        logits: (batch, list).
        features: the last hidden layer (batch, list, features), which feature imitation compares.
    """

    logits: Tensor
    features: Tensor


class InteractionModule(SavedModule):
    """The logit of a pair from the vectors of its two texts.

    With the query's vector `y_q` and the passage's `y_p`,
    `h = ReLU(W_q y_q + W_p y_p + b)`, `f = ReLU(W_task h + b_task)`, `z = w_task · f + c_task`.
    `[W_q W_p]` is the layer that the paper applies to the two vectors joined. The half `W_p y_p` does not
    depend on the query, so an index computes it once.

    Two starts:

    - `start="cosine"`, the default: `scale · y_q · y_p + bias` is added to `z`, and `w_task` and `c_task`
      are zero. At step 0 the module ranks as the backbone does, and a vector index can search by the
      cosine part.
    - `start="random"`: without that part, initialised at random, as published.

    As a module of a `SentenceTransformer` it passes embeddings through unchanged, so that the library
    saves, loads and trains it together with the encoder.

    Source: D2LLM, arXiv 2406.17262, the interaction emulation module.

    Args:
        embedding_dimension: width of a text's vector; vectors are L2-normalised.
        hidden: width of `h` (published: 512).
        features: width of `f`.
        start: `"cosine"` or `"random"`.

    Raises:
        InputError: an unknown start.

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
            raise InputError(f"unknown start '{start}' of the interaction", expected="'cosine' or 'random'")
        self.embedding_dimension = embedding_dimension
        self.hidden = hidden
        self.features = features
        self.start = start
        self.query_half = nn.Linear(embedding_dimension, hidden)
        self.passage_half = nn.Linear(embedding_dimension, hidden, bias=False)
        # The library's own start divides by the square root of the width, for inputs of unit variance. These
        # have unit length instead: with it `h` would be some hundredths, and the module as good as silent.
        nn.init.normal_(self.query_half.weight)
        nn.init.normal_(self.passage_half.weight)
        self.branches = nn.ModuleDict({task: nn.Linear(hidden, features) for task in TASKS})
        outputs = {task: nn.Linear(features, 1) for task in TASKS}
        if start == "cosine":
            self.cosine_scale = nn.Parameter(torch.tensor(COSINE_SCALE))
            self.cosine_bias = nn.Parameter(torch.tensor(0.0))
            for output in outputs.values():
                nn.init.zeros_(output.weight)
                nn.init.zeros_(output.bias)
        self.outputs = nn.ModuleDict(outputs)

    def forward(self, features: dict[str, Any], **_: object) -> dict[str, Any]:
        """Passes a batch of embeddings through unchanged."""
        return features

    def score(self, queries: Tensor, passages: Tensor, task: str = "asymmetric") -> Interaction:
        """Scores each query's list of passages.

        Args:
            queries: (batch, dimension), L2-normalised.
            passages: (batch, list, dimension), L2-normalised; (1, list, dimension) for one list that is
                scored for every query.
            task: which branch, one of `TASKS`.
        """
        hidden = torch.relu(self.query_half(queries).unsqueeze(1) + self.passage_half(passages))
        branch = torch.relu(self.branches[task](hidden))
        logits = self.outputs[task](branch).squeeze(-1)
        if self.start == "cosine":
            logits = logits + self.cosine_part(queries, passages)
        return Interaction(logits, branch)

    def cosine_part(self, queries: Tensor, passages: Tensor) -> Tensor:
        """The scaled cosine (batch, list) by itself; arguments as for `score`, with `start="cosine"`."""
        if len(passages) == 1:
            cosine = queries @ passages[0].T
        else:
            cosine = (passages @ queries.unsqueeze(-1)).squeeze(-1)
        return self.cosine_scale * cosine + self.cosine_bias

    def get_embedding_dimension(self) -> int:
        """Width of the vectors, which pass unchanged."""
        return self.embedding_dimension
