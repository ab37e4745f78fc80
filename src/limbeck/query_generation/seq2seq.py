"""A model that writes questions which a passage answers.

Design facts:
- It is any sequence-to-sequence model (doc2query: Nogueira and Lin, "From doc2query to docTTTTTquery", 2019),
  or an encoder that is warm-started into one and trained with `training.train_query_generator`.
- Questions are drawn at random from the most likely tokens, as published, by the library's `generate`. The
  draws depend on the seed and the passage's text alone (`sampling`), in whatever order or batches passages
  are read. That is why it computes in float32: how bfloat16 rounds differs from batch to batch by enough to
  change draws.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList
from transformers.modeling_outputs import BaseModelOutput

from limbeck.backbones import DEFAULT_BACKBONE
from limbeck.batching import padded
from limbeck.data import Passage
from limbeck.encoders import quiet, weights_digest
from limbeck.errors import InputError
from limbeck.files import atomic_folder, require_folder
from limbeck.query_generation.sampling import Draw, Sampling, gumbel_noise
from limbeck.students.generative.generator import IGNORED
from limbeck.students.generative.model import load_parts
from limbeck.students.generative.seq2seq import decoder_start
from limbeck.students.generative.vocabulary import Vocabulary
from limbeck.texts import single_lines

SETTINGS = "query_generator.json"
VERSION = 1


class QueryGenerator:
    """Writes questions that a passage answers.

    Args:
        model: an encoder-decoder model of the `transformers` library.
        vocabulary: its tokenizer.
        max_passage_length: tokens of a passage that are read; the rest of a longer one is not.
        max_query_length: tokens of a question, its end among them; the rest of a longer one is neither
            learnt nor written.

    Raises:
        InputError: a length that is not positive or that the model cannot read, or a model without a token
            that ends a text.

    Example:
        >>> generator = QueryGenerator.start("doc2query/msmarco-t5-base-v1")  # doctest: +SKIP
        >>> generator.generate(["Cats sleep for most of the day."], 2)  # doctest: +SKIP
        [['how long do cats sleep', 'do cats sleep during the day']]
    """

    def __init__(
        self, model: Any, vocabulary: Vocabulary, *, max_passage_length: int = 192, max_query_length: int = 32
    ) -> None:
        self.model = model.eval()
        self.vocabulary = vocabulary
        self.max_passage_length = max_passage_length
        self.max_query_length = max_query_length
        start, lead = decoder_start(model, vocabulary), vocabulary.before
        # What the decoder has before it writes: BART's `<s>` follows the start, BERT's `[CLS]` is it.
        self._prompt = [start, *(lead[1:] if lead[:1] == [start] else lead)]
        self._ends = _end_tokens(model, vocabulary)
        self._check("max_passage_length", len(lead) + len(vocabulary.after), model.get_encoder())
        self._check("max_query_length", len(self._prompt), model.get_decoder())
        # A model that comes with settings for summaries, such as a least length, is not to use them.
        model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            decoder_start_token_id=start, pad_token_id=vocabulary.padding, eos_token_id=self._ends
        )

    @classmethod
    def start(
        cls,
        name: str | Path = DEFAULT_BACKBONE,
        *,
        max_passage_length: int = 192,
        max_query_length: int = 32,
        seed: int = 0,
        device: str | None = None,
    ) -> QueryGenerator:
        """A model as it is, to be trained or, where it has been, to be used.

        Args:
            name: a folder, packaged name or hub id of a sequence-to-sequence model, or of an encoder. From
                an encoder two copies are made, the second with a cross-attention that starts at random: it
                has to be trained before it writes anything sensible.
            max_passage_length: tokens of a passage that are read.
            max_query_length: tokens of a question, its end among them.
            seed: of the parameters that start at random.
            device: where the model lives; None takes the best there is.

        Raises:
            InputError: nothing can be loaded from there, the model is a decoder-only one or another that
                does not turn a text into a text, its tokenizer is not a fast one, or it cannot read so much.
        """
        model, vocabulary = load_parts(name, kinds=("seq2seq", "encoder-decoder"), seed=seed, device=device)
        return cls(
            model, vocabulary, max_passage_length=max_passage_length, max_query_length=max_query_length
        )

    @classmethod
    def load(cls, folder: Path | str, *, device: str | None = None) -> QueryGenerator:
        """What `save` wrote.

        Args:
            folder: where it is.
            device: where the model lives; None takes the best there is.

        Raises:
            InputError: there is no such folder, or it holds no query generator or half of one.
        """
        folder = require_folder(folder, expected="a folder with a query generator")
        lengths = _lengths(folder / SETTINGS)
        model, vocabulary = load_parts(folder.resolve(), saved_as="seq2seq", device=device)
        return cls(model, vocabulary, **lengths)

    def save(self, folder: Path | str) -> None:
        """Writes model, tokenizer and settings into a folder; `load` reads it.

        Raises:
            InputError: `folder` is a file.
        """
        settings = {"version": VERSION, **self._own_lengths()}
        with atomic_folder(folder, stale=("model*.safetensors", "model.safetensors.index.json")) as staging:
            with quiet():
                self.model.save_pretrained(str(staging))
            self.vocabulary.tokenizer.save_pretrained(str(staging))
            (staging / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    def settings(self) -> dict[str, Any]:
        """What the questions depend on besides the model's weights and the sampling."""
        return {"vocabulary": self.vocabulary.fingerprint, **self._own_lengths()}

    def training_inputs(self, passages: Sequence[str], queries: Sequence[str]) -> dict[str, Tensor]:
        """The model's inputs, and what it should write.

        Args:
            passages: (rows,) texts.
            queries: (rows,) texts that the passages answer.

        Returns:
            `input_ids` and `attention_mask` (rows, passage tokens), `decoder_input_ids` and `labels` (rows,
            query tokens); the labels are aligned with the model's logits.
        """
        targets = [
            [*tokens, self._ends[0]][: self.max_query_length] for tokens in self.vocabulary.encode(queries)
        ]
        inputs = self._read(self._passage_tokens(passages))
        rows = [[*self._prompt, *target[:-1]] for target in targets]
        inputs["decoder_input_ids"] = padded(rows, self.vocabulary.padding)
        unasked = [IGNORED] * (len(self._prompt) - 1)
        inputs["labels"] = padded([[*unasked, *target] for target in targets], IGNORED)
        return inputs

    def generate(
        self, texts: Sequence[str], count: int, *, sampling: Sampling | None = None, batch_size: int = 16
    ) -> list[list[str]]:
        """Questions that passages answer.

        Args:
            texts: (passages,) what passages say; none for an empty one.
            count: questions that are drawn for each. The first ones of a larger count are those of a smaller.
            sampling: how they are drawn; None: as published.
            batch_size: passages that are read together.

        Returns:
            (passages,) lists of up to `count` questions, in the order drawn: single lines, without empty and
            repeated ones.

        Raises:
            InputError: `count` or `batch_size` is not positive.
        """
        for name, value in (("count", count), ("batch_size", batch_size)):
            if value < 1:
                raise InputError(f"{name} is {value}", expected="a positive integer")
        tokens = self._passage_tokens(texts)
        filled = [place for place, text in enumerate(texts) if text.strip() and tokens[place]]
        filled.sort(key=lambda place: -len(tokens[place]))  # so that little of a batch is padding
        found: list[list[str]] = [[] for _ in texts]
        for start in range(0, len(filled), batch_size):
            batch = filled[start : start + batch_size]
            drawn = self._draw(
                [texts[place] for place in batch],
                [tokens[place] for place in batch],
                count,
                sampling or Sampling(),
            )
            for at, place in enumerate(batch):
                found[place] = single_lines(drawn[at * count : (at + 1) * count])
        return found

    @torch.inference_mode()
    def _draw(
        self, texts: Sequence[str], tokens: Sequence[list[int]], count: int, sampling: Sampling
    ) -> list[str]:
        """Questions (passages · count,) of passages that have tokens."""
        device = self.model.device
        inputs = {name: value.to(device) for name, value in self._read(tokens).items()}
        draw = Draw(
            torch.from_numpy(
                gumbel_noise(texts, (count, self.max_query_length, sampling.top_k), sampling.seed)
            ),
            len(self._prompt),
            sampling,
            self._barred(),
        )
        with quiet():
            hidden = self.model.get_encoder()(**inputs).last_hidden_state
            rows = self.model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=hidden.repeat_interleave(count, 0)),
                attention_mask=inputs["attention_mask"].repeat_interleave(count, 0),
                decoder_input_ids=torch.tensor([self._prompt] * (len(texts) * count), device=device),
                logits_processor=LogitsProcessorList([draw]),
                max_new_tokens=self.max_query_length,
                do_sample=False,
                num_beams=1,
            )
        return [self.vocabulary.decode(row) for row in rows[:, len(self._prompt) :].tolist()]

    def _passage_tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return [tokens[: self.max_passage_length] for tokens in self.vocabulary.encode(texts)]

    def _read(self, tokens: Sequence[list[int]]) -> dict[str, Tensor]:
        rows = [[*self.vocabulary.before, *row, *self.vocabulary.after] for row in tokens]
        return {
            "input_ids": padded(rows, self.vocabulary.padding),
            "attention_mask": padded([[1] * len(row) for row in rows], 0),
        }

    def _barred(self) -> Tensor:
        """Tokens that stand in no question: special ones, and those that the tokenizer does not have."""
        tokenizer = self.vocabulary.tokenizer
        special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        special |= set(tokenizer.all_special_ids)
        size = self.model.get_output_embeddings().weight.shape[0]
        special |= set(range(len(self.vocabulary), size))
        return torch.tensor(sorted(special - set(self._ends)), dtype=torch.int64)

    def _own_lengths(self) -> dict[str, int]:
        return {"max_passage_length": self.max_passage_length, "max_query_length": self.max_query_length}

    def _check(self, name: str, around: int, part: Any) -> None:
        """That a part of the model, encoder or decoder, can read so much."""
        length = getattr(self, name)
        if length < 1:
            raise InputError(f"{name} is {length}", expected="a positive integer")
        positions = getattr(part.config, "max_position_embeddings", None)
        if positions is None:  # T5 has none: it reads any length
            return
        # RoBERTa counts its positions from 2; its tokenizer knows how many are left.
        limit = min(positions, self.vocabulary.tokenizer.model_max_length) - around
        if length > limit:
            raise InputError(f"{name} is {length}", expected=f"{limit} at most, for this model")


class Seq2SeqWriter:
    """A query generator as a writer of questions.

    Args:
        generator: what writes.
        sampling: how questions are drawn; None: as published.
        batch_size: passages that are read together; the questions do not depend on it.

    Example:
        >>> writer = Seq2SeqWriter(QueryGenerator.start("doc2query/msmarco-t5-base-v1"))  # doctest: +SKIP
        >>> writer.write([Passage("d1", "Cats sleep for most of the day.")], 1)  # doctest: +SKIP
        [['how long do cats sleep']]
    """

    def __init__(
        self, generator: QueryGenerator, sampling: Sampling | None = None, *, batch_size: int = 16
    ) -> None:
        self.generator = generator
        self.sampling = sampling or Sampling()
        self.batch_size = batch_size

    def settings(self) -> dict[str, Any]:
        """What the questions depend on besides the passages."""
        return {
            "writer": "seq2seq",
            "weights": weights_digest(self.generator.model),
            "generator": self.generator.settings(),
            "sampling": asdict(self.sampling),
        }

    def write(self, passages: Sequence[Passage], count: int) -> list[list[str]]:
        """As `QueryGenerator.generate`, of title and text."""
        return self.generator.generate(
            [passage.content for passage in passages],
            count,
            sampling=self.sampling,
            batch_size=self.batch_size,
        )


def _end_tokens(model: Any, vocabulary: Vocabulary) -> list[int]:
    """The tokens that end a text, the one that is learnt first."""
    tokenizer = vocabulary.tokenizer
    for found in (
        getattr(model.generation_config, "eos_token_id", None),
        getattr(model.config, "eos_token_id", None),
        tokenizer.eos_token_id,
        tokenizer.sep_token_id,
    ):
        if found is not None:
            return list(found) if isinstance(found, list | tuple) else [int(found)]
    raise InputError(
        "neither the model nor its tokenizer has a token that ends a text", expected="an `eos_token_id`"
    )


def _lengths(path: Path) -> dict[str, int]:
    """Of a saved query generator."""
    if not path.is_file():
        raise InputError(
            "there is no query generator in this folder",
            path=path.parent,
            expected=f"what `QueryGenerator.save` writes, {SETTINGS} among it",
            remedy="`QueryGenerator.start` takes other models",
        )
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        lengths = {name: int(raw[name]) for name in ("max_passage_length", "max_query_length")}
        known = raw["version"] == VERSION
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise InputError(
            "the settings of the query generator cannot be read",
            path=path,
            expected=f"version {VERSION}",
            remedy="train it again",
        )
    return lengths
