"""A causal language model that is asked to write questions.

What is drawn depends on the seed and the passage alone (`sampling`), as far as the model's precision allows:
in float32 always, while bfloat16 rounds differently in other batches, which may change a draw. Questions that
are written once stay, so that a run goes on with what it has.

Source: InPars (Bonifacio et al., arXiv 2202.05144) and Promptagator (Dai et al., arXiv 2209.11755), here
without examples in the prompt.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, LogitsProcessorList

from limbeck.batching import padded
from limbeck.encoders import quiet
from limbeck.errors import InputError
from limbeck.query_generation.prompts import PLACEHOLDER, PROMPTS, check_prompt, filled, question_in
from limbeck.query_generation.sampling import Draw, Sampling, gumbel_noise
from limbeck.teachers.llm.chat import in_chat
from limbeck.texts import single_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from limbeck.data import Passage
    from limbeck.teachers.llm.loading import LanguageModel


class LLMWriter:
    """Has a causal language model write questions.

    Args:
        model: what writes.
        prompt: with `{passage}` where the passage goes; it is put into the tokenizer's chat template, if
            there is one.
        max_passage_length: tokens of a passage that are read; the rest of a longer one is not.
        max_query_length: tokens of an answer, of which the first line counts.
        sampling: how tokens are drawn; None: from the most likely ones that make up 0.95.
        batch_size: passages that are read together.

    Raises:
        InputError: a prompt without a place for the passage, a length or size that is not positive, a
            chat template that cannot hold the prompt, or a model that cannot read so much.

    Example:
        >>> writer = LLMWriter(load_language_model("Qwen/Qwen3-4B"))
        >>> writer.write([Passage("d1", "Cats sleep for most of the day.")], 2)
        [['How long do cats sleep?', 'What do cats do during the day?']]
    """

    def __init__(
        self,
        model: LanguageModel,
        prompt: str = PROMPTS["en"],
        *,
        max_passage_length: int = 384,
        max_query_length: int = 48,
        sampling: Sampling | None = None,
        batch_size: int = 4,
    ) -> None:
        sizes = {
            "max_passage_length": max_passage_length,
            "max_query_length": max_query_length,
            "batch_size": batch_size,
        }
        for name, value in sizes.items():
            if value < 1:
                raise InputError(f"{name} is {value}", expected="a positive integer")
        self.model = model
        self.prompt = check_prompt(prompt)
        chats = model.tokenizer.chat_template is not None
        self._template = in_chat(model.tokenizer, self.prompt, check_prompt) if chats else self.prompt
        self._special = {
            number for number, token in model.tokenizer.added_tokens_decoder.items() if token.special
        }
        self.max_passage_length = max_passage_length
        self.max_query_length = max_query_length
        self.sampling = sampling or Sampling(top_k=50, top_p=0.95)
        self.batch_size = batch_size
        longest = len(self._tokens("")) + max_passage_length + max_query_length
        if longest > model.context:
            raise InputError(
                f"prompt, passage and question have up to {longest} tokens, and the model '{model.name}' "
                f"reads {model.context}",
                remedy="set a smaller max_passage_length",
            )
        self._ends = _end_tokens(model)

    def settings(self) -> dict[str, Any]:
        """What the questions depend on besides the passages."""
        return {
            "writer": "llm",
            "model": self.model.name,
            "weights": self.model.digest(),
            "prompt": self.prompt,
            "max_passage_length": self.max_passage_length,
            "max_query_length": self.max_query_length,
            "sampling": asdict(self.sampling),
        }

    def write(self, passages: Sequence[Passage], count: int) -> list[list[str]]:
        """(passages,) lists of up to `count` questions each, in the order drawn.

        Raises:
            InputError: `count` is not positive.
        """
        if count < 1:
            raise InputError(f"count is {count}", expected="a positive integer")
        texts = [passage.content for passage in passages]
        prompts = [self._tokens(self._shortened(text)) for text in texts]
        order = sorted(range(len(texts)), key=lambda place: -len(prompts[place]))
        found: list[list[str]] = [[] for _ in texts]
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            answers = self._answers([texts[at] for at in batch], [prompts[at] for at in batch], count)
            for at, place in enumerate(batch):
                found[place] = single_lines(map(question_in, answers[at * count : (at + 1) * count]))
        return found

    @torch.inference_mode()
    def _answers(self, texts: Sequence[str], prompts: Sequence[list[int]], count: int) -> list[str]:
        """Answers (passages · count,)."""
        tokenizer, device = self.model.tokenizer, self.model.device
        padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self._ends[0]
        rows = padded(prompts, padding, left=True)
        read = padded([[1] * len(prompt) for prompt in prompts], 0, left=True)
        shape = (count, self.max_query_length, self.sampling.top_k)
        noise = torch.from_numpy(gumbel_noise(texts, shape, self.sampling.seed))
        with quiet():
            written = self.model.model.generate(
                input_ids=rows.repeat_interleave(count, 0).to(device),
                attention_mask=read.repeat_interleave(count, 0).to(device),
                logits_processor=LogitsProcessorList(
                    [Draw(noise, rows.shape[1], self.sampling, self._barred())]
                ),
                # The model's own settings, such as a temperature, are not to be used beside.
                generation_config=GenerationConfig(  # type: ignore[no-untyped-call]
                    max_new_tokens=self.max_query_length,
                    do_sample=False,
                    eos_token_id=self._ends,
                    pad_token_id=padding,
                ),
            )
        answers: list[str] = tokenizer.batch_decode(written[:, rows.shape[1] :], skip_special_tokens=True)
        return answers

    def _tokens(self, passage: str) -> list[int]:
        """The prompt with a passage, in which special tokens are text: they would end the question there."""
        tokenizer, text = self.model.tokenizer, filled(self._template, passage)
        start = self._template.index(PLACEHOLDER)
        encoded = tokenizer(text, add_special_tokens=not tokenizer.chat_template, return_offsets_mapping=True)
        tokens: list[int] = []
        for token, (first, end) in zip(encoded.input_ids, encoded.offset_mapping, strict=True):
            if token in self._special and start <= first < end <= start + len(passage):
                tokens += self._text_tokens(text[first:end]).input_ids
            else:
                tokens.append(token)
        return tokens

    def _text_tokens(self, text: str, **options: bool) -> Any:
        return self.model.tokenizer(text, add_special_tokens=False, split_special_tokens=True, **options)

    def _shortened(self, passage: str) -> str:
        offsets = self._text_tokens(passage, return_offsets_mapping=True).offset_mapping
        if len(offsets) <= self.max_passage_length:
            return passage
        return passage[: offsets[self.max_passage_length - 1][1]]

    def _barred(self) -> Tensor:
        """Special tokens that do not end an answer."""
        return torch.tensor(
            sorted(set(self.model.tokenizer.all_special_ids) - set(self._ends)), dtype=torch.int64
        )


def _end_tokens(model: LanguageModel) -> list[int]:
    """The tokens that end an answer."""
    found = [getattr(model.model.generation_config, "eos_token_id", None), model.tokenizer.eos_token_id]
    ends = [
        token for one in found for token in (one if isinstance(one, list) else [one]) if token is not None
    ]
    if not ends:
        raise InputError(
            f"neither the model '{model.name}' nor its tokenizer has a token that ends a text",
            expected="an `eos_token_id`",
        )
    return list(dict.fromkeys(ends))
