"""What decoding and training need of a model that generates identifiers, whatever its kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limbeck.encoders import quiet
from limbeck.errors import InputError
from limbeck.files import atomic_path
from limbeck.students.generative.vocabulary import Vocabulary

#: In a label: no token is asked for here.
IGNORED = -100
SETTINGS = "generator.json"
VERSION = 1

State = TypeVar("State")


class Generator(Protocol[State]):
    """A model that, given a query and a view, says how likely each next token of an identifier is.

    A *row* is a query asked for one view; its *prompt* is the view's start marker. A *slot* is a beam.

    Attributes:
        kind: as it stands in the settings of a saved generator.
        model: of the `transformers` library.
        vocabulary: its tokenizer.
        max_query_length: tokens of a query that are read.
    """

    kind: ClassVar[str]
    model: Any
    vocabulary: Vocabulary
    max_query_length: int

    def start(self, queries: Sequence[str], prompts: Sequence[int]) -> tuple[Tensor, State]:
        """Reads queries.

        Args:
            queries: (rows,) texts.
            prompts: (rows,) start markers.

        Returns:
            Log-probabilities of the first token (rows, vocabulary), float32, and a state of one slot a row.
        """
        ...

    def step(
        self, state: State, parents: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> tuple[Tensor, State]:
        """Goes on by one token.

        Args:
            state: of the last step; it is used up.
            parents: (slots,), for each beam the slot of the last step that it continues.
            tokens: (slots,), what it continues that with.

        Returns:
            Log-probabilities of the next token (slots, vocabulary), float32, and the state.
        """
        ...

    def training_inputs(
        self, queries: Sequence[str], prompts: Sequence[int], targets: Sequence[Sequence[int]]
    ) -> dict[str, Tensor]:
        """The model's inputs, and what it should answer.

        Args:
            queries: (rows,) texts.
            prompts: (rows,) start markers.
            targets: (rows,) non-empty token sequences that are to follow the prompts.

        Returns:
            Also `labels` (rows, tokens), aligned with the model's logits; `IGNORED` where none is asked for.
        """
        ...

    def save(self, folder: Path | str) -> None:
        """Writes model, tokenizer and settings into a folder."""
        ...


class SavedGenerator:
    """What the kinds of generators share.

    Args:
        model: of the `transformers` library.
        vocabulary: its tokenizer.
        max_query_length: tokens of a query that are read; the rest of a longer one is not.
    """

    kind: ClassVar[str]

    def __init__(self, model: Any, vocabulary: Vocabulary, max_query_length: int = 64) -> None:
        if max_query_length < 1:
            raise InputError(f"max_query_length is {max_query_length}", expected="a positive integer")
        self.model = model
        self.vocabulary = vocabulary
        self.max_query_length = max_query_length

    def save(self, folder: Path | str) -> None:
        """Writes model, tokenizer and settings into a folder; `load_generator` reads it."""
        with quiet():
            self.model.save_pretrained(str(folder))
        self.vocabulary.tokenizer.save_pretrained(str(folder))
        settings = {"version": VERSION, "kind": self.kind, "max_query_length": self.max_query_length}
        with atomic_path(Path(folder) / SETTINGS) as temporary:
            temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    def require_lengths(self, longest: int) -> None:
        """Makes sure that the model can read its queries and write such identifiers.

        Args:
            longest: tokens of an identifier, markers not counted.

        Raises:
            InputError: there are fewer positions in the model than it takes; without this, the first query
                or identifier that is long enough would end a training.
        """
        for name, length, part, tokens in self._lengths(longest):
            readable = readable_tokens(part)
            if readable is not None and tokens > readable:
                raise InputError(
                    f"{name} is {length}, and this takes {tokens} tokens of a model that reads {readable}",
                    expected=f"{length - (tokens - readable)} at most, for this model",
                )

    def _lengths(self, longest: int) -> list[tuple[str, int, Any, int]]:
        """What is read at most: (name of the setting, its value, part of the model, tokens)."""
        raise NotImplementedError

    def _device_tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(values, device=self.model.device)

    def _query_tokens(self, queries: Sequence[str]) -> list[list[int]]:
        return [tokens[: self.max_query_length] for tokens in self.vocabulary.encode(queries)]


def readable_tokens(part: Any) -> int | None:
    """How many tokens a model, or its encoder or decoder, can read at once; None where there is no limit.

    Args:
        part: of the `transformers` library.
    """
    positions: int | None = getattr(part.config, "max_position_embeddings", None)
    if positions is None:  # T5 has none: it reads any length
        return None
    # RoBERTa counts its positions from the one behind its padding's.
    reserved = [
        module.padding_idx + 1
        for name, module in part.named_modules()
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
    ]
    return positions - max(reserved, default=0)


def next_log_probabilities(logits: Tensor) -> Tensor:
    """The last position's log-probabilities.

    Args:
        logits: (rows, tokens, vocabulary).

    Returns:
        (rows, vocabulary), float32.
    """
    return torch.log_softmax(logits[:, -1].float(), dim=-1)


def log_probabilities(
    generator: Generator[Any],
    queries: Sequence[str],
    prompts: Sequence[int],
    targets: Sequence[Sequence[int]],
) -> Tensor:
    """How likely a model finds each token of given identifiers; gradients go through.

    Args:
        generator: the model, in whatever mode (training or not) it is.
        queries: (rows,) texts.
        prompts: (rows,) start markers of the views.
        targets: (rows,) the identifiers, not empty, each with its end marker where the view has one.

    Returns:
        (rows, longest target), float32; 0 behind the end of a shorter one.
    """
    inputs = generator.training_inputs(queries, prompts, targets)
    inputs = {name: value.to(generator.model.device) for name, value in inputs.items()}
    labels = inputs.pop("labels")
    asked = labels != IGNORED
    logits = generator.model(**inputs).logits.float()
    chosen: Tensor = logits.gather(-1, labels.clamp_min(0)[..., None])[..., 0]
    found: Tensor = (chosen - logits.logsumexp(-1)).masked_fill(~asked, 0.0)
    # The targets' places differ from row to row where the query stands in the same sequence.
    longest = max(map(len, targets))
    places = asked.int().argmax(1, keepdim=True) + torch.arange(longest, device=labels.device)
    inside = places < labels.shape[1]
    return found.gather(1, places.clamp_max(labels.shape[1] - 1)).masked_fill(~inside, 0.0)
