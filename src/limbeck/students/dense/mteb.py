"""A dense student as `mteb` evaluates it: with its interaction module, and not with the cosine.

Design facts:
- The benchmark asks a model for vectors, and then for the similarity of vectors. Here that is the interaction
  module: between rows of two tables its symmetric branch (sentence similarity, pair classification) unless
  another is asked for, between all rows of two its asymmetric one, the first table being the queries
  (retrieval, reranking).
- The module is not symmetric in its two sides; the benchmark keeps to the same order throughout.
- Several tasks name the cosine's figure as their main score, whatever a model's similarity is.
  `by_interaction` gives the same tasks with the figure of the model's own similarity.
- Tasks that take vectors alone, such as classification and clustering, get the student's embeddings.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from limbeck.data.passages import passage_content
from limbeck.encoders import model_digest
from limbeck.errors import InputError
from limbeck.students.dense.interaction import TASKS
from limbeck.students.dense.student import DenseStudent

if TYPE_CHECKING:
    from mteb import AbsTask
    from mteb.models import ModelMeta

#: Pairs that are scored together: 64 MB of 512 hidden units each.
_PAIRS_AT_ONCE = 32_768
#: Queries that share the passage half of the interaction's first layer.
_QUERIES_AT_ONCE = 16
_STUDENT = Path("distil/student")
_MISSING, _REMEDY = "the package 'mteb' is not installed", "pip install 'limbeck[mteb]'"


class LimbeckEncoder:
    """A student with the methods that `mteb.evaluate` calls.

    Args:
        student: who is evaluated.
        name: under which results are kept, "organisation/model".
        pair_task: the branch that scores pairs: the `task` with which the student learnt them.

    Raises:
        InputError: `mteb` is not installed, the name has no organisation, or there is no such branch.

    Example:
        >>> import mteb  # doctest: +SKIP
        >>> encoder = LimbeckEncoder.open("runs/mine")  # doctest: +SKIP
        >>> tasks = by_interaction(mteb.get_tasks(["STSBenchmark", "SciFact"]))  # doctest: +SKIP
        >>> mteb.evaluate(encoder, tasks)  # doctest: +SKIP
    """

    def __init__(
        self, student: DenseStudent, name: str = "limbeck/student", *, pair_task: str = "symmetric"
    ) -> None:
        if pair_task not in TASKS:
            raise InputError(
                f"the interaction has no branch '{pair_task}'", expected=f"one of {', '.join(TASKS)}"
            )
        self.student = student
        self.pair_task = pair_task
        self.mteb_model_meta = _model_meta(student, name, pair_task)

    @classmethod
    def open(
        cls, folder: Path | str, device: str | None = None, *, pair_task: str = "symmetric"
    ) -> LimbeckEncoder:
        """The student of a run, or one that was saved by itself.

        Args:
            folder: what `limbeck run` was given as `--out`, or what `DenseStudent.save` wrote.
            device: where the student lives; None takes the best there is.
            pair_task: the branch that scores pairs.

        Raises:
            InputError: there is no student, `mteb` is not installed, or there is no such branch.
        """
        folder = Path(folder)
        of_run = folder / _STUDENT
        student = DenseStudent.load(of_run if of_run.is_dir() else folder, device)
        return cls(student, f"limbeck/{folder.resolve().name}", pair_task=pair_task)

    def encode(
        self,
        inputs: Iterable[dict[str, Any]],
        *,
        prompt_type: Any = None,
        batch_size: int = 64,
        **_: object,
    ) -> NDArray[np.float32]:
        """Vectors of the texts in batches.

        Args:
            inputs: batches with the key `text`; passages with a title have `title` and `body` too, and are
                read as in training.
            prompt_type: `"query"` for queries; anything else is read as a passage.
            batch_size: texts a forward pass.

        Returns:
            (texts, dimension), L2-normalised.
        """
        texts = [text for batch in inputs for text in _contents(batch)]
        return self.student.encode(texts, batch_size=batch_size, query=prompt_type == "query")

    @torch.inference_mode()
    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Logits of the asymmetric branch, each query with each passage.

        Args:
            embeddings1: of the queries (queries, dimension), or of one (dimension,).
            embeddings2: of the passages (passages, dimension), or of one.

        Returns:
            (queries, passages), on the CPU.
        """
        queries, passages = self._tensor(embeddings1), self._tensor(embeddings2)
        scores = torch.empty(len(queries), len(passages))
        at_once = _PAIRS_AT_ONCE // _QUERIES_AT_ONCE
        for start in range(0, len(passages), at_once):
            block = passages[start : start + at_once].unsqueeze(0)
            for first in range(0, len(queries), _QUERIES_AT_ONCE):
                asked = queries[first : first + _QUERIES_AT_ONCE]
                logits = self.student.interaction.score(asked, block, "asymmetric").logits
                scores[first : first + _QUERIES_AT_ONCE, start : start + at_once] = logits.cpu()
        return scores

    @torch.inference_mode()
    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Logits of the branch of pairs, each first text with its second.

        Args:
            embeddings1: of the first texts (pairs, dimension), or of one (dimension,).
            embeddings2: of the second texts, likewise.

        Returns:
            (pairs,), on the CPU.
        """
        first, second = self._tensor(embeddings1), self._tensor(embeddings2)
        if first.shape != second.shape:
            raise InputError(
                f"embeddings of shapes {tuple(first.shape)} and {tuple(second.shape)} are no pairs",
                expected="as many second texts as first ones",
            )
        blocks = [
            self.student.interaction.score(left, right.unsqueeze(1), self.pair_task).logits[:, 0].cpu()
            for left, right in zip(
                *(torch.split(side, _PAIRS_AT_ONCE) for side in (first, second)), strict=True
            )
        ]
        return torch.cat(blocks)

    def _tensor(self, embeddings: Any) -> torch.Tensor:
        """Vectors (texts, dimension) where the interaction lives."""
        device = self.student.model.device
        vectors = torch.as_tensor(np.asarray(embeddings, np.float32)).to(device)
        return vectors.unsqueeze(0) if vectors.ndim == 1 else vectors


def by_interaction(tasks: Iterable[AbsTask] | AbsTask) -> list[AbsTask]:
    """The tasks with a main score that comes of the model's own similarity.

    Sentence similarity and summarisation name `cosine_spearman` as their main score, pair classification
    `max_ap`, the best of five similarities chosen on the test pairs. They become `spearman` and
    `similarity_ap`. Other tasks rank by the model's similarity anyway, and stay what they are; so do the
    tasks that are handed in.

    Raises:
        InputError: a task that is made of tasks, which keeps their scores out of sight; or `mteb` is not
            installed.
    """
    try:
        from mteb.abstasks import AbsTask  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise InputError(_MISSING, remedy=_REMEDY) from error
    given = [tasks] if isinstance(tasks, AbsTask) else list(tasks)
    return [_by_interaction(task) for task in given]


def _by_interaction(task: AbsTask) -> AbsTask:
    if task.is_aggregate:
        raise InputError(
            f"the task '{task.metadata.name}' is made of other tasks",
            expected="tasks with scores of their own",
            remedy="evaluate its parts, `task.metadata.tasks`",
        )
    main_score: str = task.metadata.main_score
    if task.metadata.type == "PairClassification":
        own = "similarity_" + main_score.removeprefix("max_").removeprefix("cosine_").removeprefix(
            "similarity_"
        )
    else:
        own = main_score.removeprefix("cosine_")
    changed = copy.copy(task)
    changed.metadata = task.metadata.model_copy(update={"main_score": own})
    return changed


def _contents(batch: dict[str, Any]) -> list[str]:
    """The texts of a batch as the student learnt to read them."""
    if "title" in batch and "body" in batch:
        pairs = zip(batch["title"], batch["body"], strict=True)
        return [passage_content(title or "", body) for title, body in pairs]
    return list(batch["text"])


def _model_meta(student: DenseStudent, name: str, pair_task: str) -> ModelMeta:
    """What is known of the student; what is not, such as the data it was trained on, is left open."""
    try:
        from mteb.models.model_meta import ModelMeta, ScoringFunction  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise InputError(_MISSING, remedy=_REMEDY) from error
    if "/" not in name:
        raise InputError(f"the model's name '{name}' has no organisation", expected="'organisation/model'")
    model = student.model
    weights = list(model.parameters())
    transformer: Any = model[0]
    return ModelMeta.create_empty(
        overwrites={
            "name": name,
            # Results are kept under it, so other weights and another branch must have another one.
            "revision": model_digest(model) + ("" if pair_task == "symmetric" else f"-{pair_task}"),
            "n_parameters": sum(weight.numel() for weight in weights),
            "n_embedding_parameters": transformer.model.get_input_embeddings().weight.numel(),
            "memory_usage_mb": sum(weight.numel() * weight.element_size() for weight in weights) / 2**20,
            "max_tokens": model.max_seq_length,
            "embed_dim": model.get_embedding_dimension(),
            "similarity_fn_name": ScoringFunction.CUSTOM,
            "framework": ["Sentence Transformers", "PyTorch"],
            "use_instructions": any(model.prompts.values()),
        }
    )
