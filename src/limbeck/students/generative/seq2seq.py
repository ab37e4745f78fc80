"""Encoder-decoder models as generators: BART, T5, and encoders that are warm-started into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from limbeck.batching import padded
from limbeck.students.generative.generator import IGNORED, SavedGenerator, next_log_probabilities
from limbeck.students.generative.vocabulary import Vocabulary


@dataclass(slots=True)
class Seq2SeqState:
    """Where the decoder is.

    Attributes:
        cache: the library's `EncoderDecoderCache`.
        hidden: the encoder's states (slots, tokens, width).
        mask: of them (slots, tokens).
        sources: the row that each slot belongs to, (slots,).
    """

    cache: Any
    hidden: Tensor
    mask: Tensor
    sources: NDArray[np.int64]


class Seq2SeqGenerator(SavedGenerator):
    """The encoder reads the query and the view's start marker; the decoder writes the identifier.

    The decoder starts with its own start token and, once more, the marker.
    """

    kind = "seq2seq"

    def start(self, queries: Sequence[str], prompts: Sequence[int]) -> tuple[Tensor, Seq2SeqState]:
        """See `Generator.start`."""
        inputs = {name: value.to(self.model.device) for name, value in self._read(queries, prompts).items()}
        encoded = self.model.get_encoder()(**inputs)
        first = [[self.start_token, prompt] for prompt in prompts]
        state = Seq2SeqState(None, encoded.last_hidden_state, inputs["attention_mask"], np.arange(len(first)))
        return self._forward(state, self._device_tensor(first)), state

    def step(
        self, state: Seq2SeqState, parents: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> tuple[Tensor, Seq2SeqState]:
        """See `Generator.step`."""
        order = self._device_tensor(parents)
        state.cache.self_attention_cache.reorder_cache(order)
        sources = state.sources[parents]
        # The beams of a row share what the encoder said: as long as each slot stays with its row, the larger
        # half of the cache stays where it is.
        if not np.array_equal(sources, state.sources):
            state.cache.cross_attention_cache.reorder_cache(order)
            state.hidden, state.mask = state.hidden[order], state.mask[order]
            state.sources = sources
        return self._forward(state, self._device_tensor(tokens)[:, None]), state

    def training_inputs(
        self, queries: Sequence[str], prompts: Sequence[int], targets: Sequence[Sequence[int]]
    ) -> dict[str, Tensor]:
        """See `Generator.training_inputs`."""
        inputs = self._read(queries, prompts)
        rows = [[self.start_token, p, *t[:-1]] for p, t in zip(prompts, targets, strict=True)]
        inputs["decoder_input_ids"] = padded(rows, self.vocabulary.padding)
        inputs["labels"] = padded([[IGNORED, *target] for target in targets], IGNORED)
        return inputs

    @property
    def start_token(self) -> int:
        """What the decoder starts with."""
        return decoder_start(self.model, self.vocabulary)

    def _lengths(self, longest: int) -> list[tuple[str, int, Any, int]]:
        around = len(self.vocabulary.before) + len(self.vocabulary.after) + 1
        asked = self.max_query_length
        return [
            ("max_query_length", asked, self.model.get_encoder(), asked + around),
            ("max_length", longest, self.model.get_decoder(), longest + 2),
        ]

    def _read(self, queries: Sequence[str], prompts: Sequence[int]) -> dict[str, Tensor]:
        before, after = self.vocabulary.before, self.vocabulary.after
        rows = [
            [*before, *tokens, prompt, *after]
            for tokens, prompt in zip(self._query_tokens(queries), prompts, strict=True)
        ]
        return {
            "input_ids": padded(rows, self.vocabulary.padding),
            "attention_mask": padded([[1] * len(row) for row in rows], 0),
        }

    def _forward(self, state: Seq2SeqState, tokens: Tensor) -> Tensor:
        outputs = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=state.hidden),
            attention_mask=state.mask,
            decoder_input_ids=tokens,
            past_key_values=state.cache,
            use_cache=True,
        )
        state.cache = outputs.past_key_values
        return next_log_probabilities(outputs.logits)


def decoder_start(model: Any, vocabulary: Vocabulary) -> int:
    """The token with which a model's decoder starts."""
    for config in (model.config, model.generation_config):
        token = getattr(config, "decoder_start_token_id", None)
        if token is not None:
            return int(token)
    return vocabulary.padding


def widen(model: Any, size: int) -> None:
    """Gives encoder and decoder embeddings for `size` tokens; they keep those that they have."""
    parts = [model.encoder, model.decoder] if model.config.model_type == "encoder-decoder" else [model]
    for part in parts:
        if part.get_input_embeddings().weight.shape[0] < size:
            part.resize_token_embeddings(size)
    if len(parts) == 2:
        model.config.encoder.vocab_size = model.encoder.config.vocab_size
        model.config.decoder.vocab_size = model.decoder.config.vocab_size


@torch.no_grad()
def drop_pooler(model: Any) -> None:
    """Excludes an encoder's pooler from training: it has no part in the loss."""
    pooler = getattr(model.get_encoder(), "pooler", None)
    if pooler is not None:
        pooler.requires_grad_(requires_grad=False)
