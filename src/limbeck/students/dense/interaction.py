"""The last module of a dense student: what says of two vectors how well their texts fit.

`InteractionModule` is D2LLM's interaction emulation module (IEM), a small network that imitates the teacher's
attention. `CosineInteraction` is what it is compared with, the scaled cosine alone.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.indexes.vectors import InteractionWeights
from limbeck.students.dense.saved_module import SavedModule

#: Kinds of task, each with a branch of its own: do two texts say the same; does a passage answer a query.
TASKS = ("symmetric", "asymmetric")
#: Name of the one branch that serves every task.
SHARED = "shared"
#: What the cosine is multiplied by at step 0, so that logits spread as far as those of a cross-encoder.
COSINE_SCALE = 20.0


class Interaction(NamedTuple):
    """What the module says of pairs.

    Attributes:
        logits: (batch, list).
        features: the last hidden layer (batch, list, features), which feature imitation compares; a cosine
            has none, and 0 of them.
    """

    logits: Tensor
    features: Tensor


class PairScoring(SavedModule):
    """The last module of a student: logits of pairs of vectors, and passes embeddings through unchanged.

    So the library saves, loads and trains it together with the encoder.

    Attributes:
        embedding_dimension: width of a text's vector; vectors are L2-normalised.
        cosine_scale: what the cosine is multiplied by, where the logit has a cosine part.
        cosine_bias: what is added to it then.
    """

    embedding_dimension: int
    cosine_scale: nn.Parameter
    cosine_bias: nn.Parameter

    def forward(self, features: dict[str, Any], **_: object) -> dict[str, Any]:
        """Passes a batch of embeddings through unchanged."""
        return features

    @abstractmethod
    def score(self, queries: Tensor, passages: Tensor, task: str = "asymmetric") -> Interaction:
        """Scores each query's list of passages.

        Args:
            queries: (batch, dimension), L2-normalised.
            passages: (batch, list, dimension), L2-normalised; (1, list, dimension) for one list that is
                scored for every query.
            task: which branch, one of `TASKS`.
        """

    @abstractmethod
    def weights(self, task: str = "asymmetric") -> InteractionWeights:
        """The module as plain arrays, for an index.

        Args:
            task: which branch, one of `TASKS`.
        """

    @property
    @abstractmethod
    def adds_to_cosine(self) -> bool:
        """Whether the logit is a scaled cosine and more, so that the cosine part can be trained by itself."""

    def cosine_part(self, queries: Tensor, passages: Tensor) -> Tensor:
        """The scaled cosine (batch, list) by itself, where there is one; arguments as for `score`."""
        if len(passages) == 1:
            cosine = queries @ passages[0].T
        else:
            cosine = (passages @ queries.unsqueeze(-1)).squeeze(-1)
        return self.cosine_scale * cosine + self.cosine_bias

    def shift(self, by: float, task: str = "asymmetric") -> None:
        """Adds a number to every logit of a task, and to the cosine part of all.

        Args:
            by: the number.
            task: which branch, one of `TASKS`.
        """
        with torch.no_grad():
            self._bias(task).add_(by)

    @abstractmethod
    def _bias(self, task: str) -> nn.Parameter:
        """What is added to every logit of a task last."""

    def get_embedding_dimension(self) -> int:
        """Width of the vectors, which pass unchanged."""
        return self.embedding_dimension


class InteractionModule(PairScoring):
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

    Source: D2LLM, arXiv 2406.17262, the interaction emulation module.

    Args:
        embedding_dimension: width of a text's vector; vectors are L2-normalised.
        hidden: width of `h` (published: 512).
        features: width of `f`.
        start: `"cosine"` or `"random"`.
        branches: `"task"`, a branch for each of `TASKS`, or `"shared"`, one for all, to compare with.

    Raises:
        InputError: an unknown start, or unknown branches.

    Example:
        >>> iem = InteractionModule(embedding_dimension=4)
        >>> y = nn.functional.normalize(torch.ones(1, 4), dim=-1)
        >>> iem.score(y, y.unsqueeze(1)).logits
        tensor([[20.]], grad_fn=<AddBackward0>)
    """

    config_keys: list[str] = ["embedding_dimension", "hidden", "features", "start", "branches"]

    def __init__(
        self,
        embedding_dimension: int,
        hidden: int = 512,
        features: int = 128,
        start: str = "cosine",
        branches: str = "task",
    ) -> None:
        super().__init__()
        if branches not in {"task", SHARED}:
            raise InputError(
                f"unknown branches '{branches}' of the interaction", expected="'task' or 'shared'"
            )
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
        self.shared = branches == SHARED
        names = (SHARED,) if self.shared else TASKS
        self.branches = nn.ModuleDict({name: nn.Linear(hidden, features) for name in names})
        outputs = {name: nn.Linear(features, 1) for name in names}
        if start == "cosine":
            self.cosine_scale = nn.Parameter(torch.tensor(COSINE_SCALE))
            self.cosine_bias = nn.Parameter(torch.tensor(0.0))
            for output in outputs.values():
                nn.init.zeros_(output.weight)
                nn.init.zeros_(output.bias)
        self.outputs = nn.ModuleDict(outputs)

    def get_config_dict(self) -> dict[str, Any]:
        """What the constructor was given: `branches` names a module by now."""
        given = {key: getattr(self, key) for key in self.config_keys if key != "branches"}
        return given | {"branches": SHARED if self.shared else "task"}

    def score(self, queries: Tensor, passages: Tensor, task: str = "asymmetric") -> Interaction:
        """See `PairScoring.score`."""
        name = self._branch(task)
        hidden = torch.relu(self.query_half(queries).unsqueeze(1) + self.passage_half(passages))
        branch = torch.relu(self.branches[name](hidden))
        logits = self.outputs[name](branch).squeeze(-1)
        if self.start == "cosine":
            logits = logits + self.cosine_part(queries, passages)
        return Interaction(logits, branch)

    @property
    def adds_to_cosine(self) -> bool:
        """See `PairScoring.adds_to_cosine`."""
        return self.start == "cosine"

    def weights(self, task: str = "asymmetric") -> InteractionWeights:
        """See `PairScoring.weights`."""
        name, arrays = self._branch(task), _arrays(self)
        return InteractionWeights(
            query_half=arrays["query_half.weight"],
            hidden_bias=arrays["query_half.bias"],
            passage_half=arrays["passage_half.weight"],
            branch=arrays[f"branches.{name}.weight"],
            branch_bias=arrays[f"branches.{name}.bias"],
            output=arrays[f"outputs.{name}.weight"][0],
            output_bias=float(arrays[f"outputs.{name}.bias"][0]),
            # The published start has no cosine part.
            cosine_scale=float(arrays.get("cosine_scale", 0.0)),
            cosine_bias=float(arrays.get("cosine_bias", 0.0)),
        )

    def _bias(self, task: str) -> nn.Parameter:
        if self.start == "cosine":
            return self.cosine_bias
        output = self.outputs[self._branch(task)]
        assert isinstance(output, nn.Linear)  # noqa: S101 - the constructor made it
        return output.bias

    def _branch(self, task: str) -> str:
        return SHARED if self.shared else task


class CosineInteraction(PairScoring):
    """The scaled cosine `scale · y_q · y_p + bias` in place of an interaction module, for all tasks.

    What any bi-encoder has, with scale and bias learned: D2LLM's comparison "cosine in place of IEM".

    Args:
        embedding_dimension: width of a text's vector; vectors are L2-normalised.

    Example:
        >>> y = nn.functional.normalize(torch.ones(1, 4), dim=-1)
        >>> CosineInteraction(embedding_dimension=4).score(y, y.unsqueeze(1)).logits
        tensor([[20.]], grad_fn=<AddBackward0>)
    """

    config_keys: list[str] = ["embedding_dimension"]

    def __init__(self, embedding_dimension: int) -> None:
        super().__init__()
        self.embedding_dimension = embedding_dimension
        self.cosine_scale = nn.Parameter(torch.tensor(COSINE_SCALE))
        self.cosine_bias = nn.Parameter(torch.tensor(0.0))

    def score(self, queries: Tensor, passages: Tensor, task: str = "asymmetric") -> Interaction:
        """See `PairScoring.score`; the task makes no difference."""
        logits = self.cosine_part(queries, passages)
        return Interaction(logits, logits.new_zeros(*logits.shape, 0))

    @property
    def adds_to_cosine(self) -> bool:
        """See `PairScoring.adds_to_cosine`."""
        return False

    def _bias(self, task: str) -> nn.Parameter:
        return self.cosine_bias

    def weights(self, task: str = "asymmetric") -> InteractionWeights:
        """See `PairScoring.weights`: a module of one unit that is always 0 beside the cosine."""
        silent = np.zeros((1, self.embedding_dimension), np.float32)
        one = np.zeros(1, np.float32)
        return InteractionWeights(
            query_half=silent,
            hidden_bias=one,
            passage_half=silent,
            branch=np.zeros((1, 1), np.float32),
            branch_bias=one,
            output=one,
            output_bias=0.0,
            cosine_scale=float(self.cosine_scale.detach()),
            cosine_bias=float(self.cosine_bias.detach()),
        )


def _arrays(module: nn.Module) -> dict[str, NDArray[np.float32]]:
    return {name: value.detach().float().cpu().numpy() for name, value in module.state_dict().items()}
