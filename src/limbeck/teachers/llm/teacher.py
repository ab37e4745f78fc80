"""An LLM as a teacher: asked whether a passage answers a query, yes or no."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from limbeck.batching import default_tokens, token_batches
from limbeck.errors import InputError
from limbeck.teachers.base import check_scores
from limbeck.teachers.llm.answers import answer_tokens, yes_minus_no
from limbeck.teachers.llm.encoding import Chat, PromptEncoder
from limbeck.teachers.llm.loading import LanguageModel, load_language_model
from limbeck.teachers.llm.prefix import AnswerHead, answering, last_logits, padded_right, prefix_cache
from limbeck.teachers.llm.prompts import PROMPTS, Prompt

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from limbeck.teachers.base import Pair

MAX_LENGTH = 512
BATCH_SIZE = 32
#: Of the prefixes whose keys and values are held at once; with 8 billion weights about 150 kB each.
PREFIX_TOKENS = 2048


class LLMTeacher:
    """The logit of yes against no that a causal language model gives to a question about query and passage.

    The sigmoid of the score is the probability of yes, `s_T` of D2LLM. Where several passages of a query are
    asked for, the keys and values of instruction and query are computed once; passages of like length go
    together, and so do queries of few passages that have as many tokens. Results come in the order asked. In
    float32 a score moves by less than 1e-4 with what else is asked, in bfloat16 by about 0.01 times its size;
    the cache keeps the first.

    Args:
        model: a loaded model, or the folder or hub id of one, or of a LoRA adapter.
        prompt: the question.
        max_length: tokens of the whole prompt; longer passages are shortened.
        batch_size: passages a forward pass at most; long ones go in smaller batches.
        chat: see PromptEncoder.
        share_prefix: whether what is common to the passages of a query is computed once; models whose cache
            does not allow it are asked plainly all the same.

    Attributes:
        shares_prefix: whether it is: pairs of the same query are then best asked together.
        shortened: how many passages were shortened so far.

    Raises:
        InputError: the model cannot be loaded, is no causal language model, has no tokens for the answers, or
            reads fewer tokens than `max_length`.

    Source: D2LLM, arXiv 2406.17262, section 3.1.

    Example:
        >>> LLMTeacher("Qwen/Qwen3-0.6B").score([("who barks", "Dogs bark.")])
        array([6.1])
    """

    name = "llm"

    def __init__(
        self,
        model: LanguageModel | str | os.PathLike[str],
        prompt: Prompt = PROMPTS["asymmetric", "en"],
        *,
        max_length: int = MAX_LENGTH,
        batch_size: int = BATCH_SIZE,
        chat: Chat = "auto",
        share_prefix: bool = True,
    ) -> None:
        loaded = model if isinstance(model, LanguageModel) else load_language_model(model)
        self.language_model = loaded
        self.batch_size = batch_size
        require_context(loaded, max_length)
        self.answers = answer_tokens(loaded.tokenizer, prompt)
        self.encoder = PromptEncoder(loaded.tokenizer, prompt, max_length=max_length, chat=chat)
        head, middle, tail = self.encoder.parts
        words = f"[yes: {', '.join(prompt.yes)}; no: {', '.join(prompt.no)}]"
        self.prompt = f"{head}{{query}}{middle}{{passage}}{tail}{words}"
        self.version = f"{loaded.digest()}/max_length={max_length}"
        self.shares_prefix = share_prefix and self._can_share()

    @property
    def shortened(self) -> int:
        """How many passages were shortened so far."""
        return self.encoder.shortened

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """The logits of yes against no (pairs,), in the order asked."""
        return self.score_with_features(pairs)[0]

    @torch.inference_mode()
    def score_with_features(self, pairs: Sequence[Pair]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """The logits (pairs,), and the last layer's states at the last token (pairs, hidden).

        Raises:
            InputError: a query leaves no room for a passage, or a logit is NaN or infinite.
        """
        scores = np.zeros(len(pairs))
        features = np.zeros((len(pairs), self.dimension), np.float32)
        with self._answering() as head:
            for rows, logits in self._passes(self.encoder.encode(pairs), head):
                scores[rows] = yes_minus_no(logits, len(self.answers.yes)).cpu().numpy()
                features[rows] = head.states.float().cpu().numpy()
        return check_scores(self, pairs, scores), features

    @property
    def dimension(self) -> int:
        """The size of a feature."""
        return int(self.language_model.model.config.get_text_config(decoder=True).hidden_size)

    def _answering(self) -> Any:
        return answering(self.language_model.model, [*self.answers.yes, *self.answers.no])

    @torch.inference_mode()
    def _can_share(self) -> bool:
        device = self.language_model.device
        with self._answering() as head:
            return prefix_cache(self.language_model.model, head, [[0, 0]], device) is not None

    def _passes(
        self, encoded: Sequence[tuple[tuple[int, ...], list[int]]], head: AnswerHead
    ) -> Iterator[tuple[list[int], Tensor]]:
        """The rows and logits of each forward pass: first what shares a prefix, then the rest plainly."""
        model, device = self.language_model.model, self.language_model.device
        by_prefix: dict[tuple[int, ...], list[int]] = {}
        for row, (prefix, _) in enumerate(encoded):
            by_prefix.setdefault(prefix, []).append(row)
        shared = {prefix: rows for prefix, rows in by_prefix.items() if self.shares_prefix and len(rows) > 1}
        suffixes = {row: suffix for row, (_, suffix) in enumerate(encoded)}
        for prefixes in self._together(shared, suffixes):
            yield from self._behind({prefix: shared[prefix] for prefix in prefixes}, suffixes, head)
        alone = [row for prefix, rows in by_prefix.items() if prefix not in shared for row in rows]
        whole = {row: [*encoded[row][0], *encoded[row][1]] for row in alone}
        for batch, prompts in self._batches(alone, whole):
            yield batch, last_logits(model, head, *padded_right(prompts, self._pad_id, device))

    def _behind(
        self,
        prefixes: Mapping[tuple[int, ...], list[int]],
        suffixes: Mapping[int, list[int]],
        head: AnswerHead,
    ) -> Iterator[tuple[list[int], Tensor]]:
        """The passes of the rows behind prefixes of one length, whose cache is let go at the end."""
        model, device = self.language_model.model, self.language_model.device
        cache = prefix_cache(model, head, list(prefixes), device)
        owner = {row: at for at, rows in enumerate(prefixes.values()) for row in rows}
        for batch, rest in self._batches(list(owner), suffixes):
            ids, lengths = padded_right(rest, self._pad_id, device)
            owners = [owner[row] for row in batch]
            yield batch, last_logits(model, head, ids, lengths, prefix=cache, owners=owners)

    def _together(
        self, shared: Mapping[tuple[int, ...], list[int]], suffixes: Mapping[int, list[int]]
    ) -> Iterator[list[tuple[int, ...]]]:
        """Prefixes of one length whose passages fill a batch, as those of one alone may not.

        The longest first, and those that have long passages beside their like.
        """
        longest = {prefix: max(len(suffixes[row]) for row in rows) for prefix, rows in shared.items()}
        held: list[tuple[int, ...]] = []
        passages = 0
        for prefix in sorted(shared, key=lambda prefix: (-len(prefix), -longest[prefix])):
            count = len(shared[prefix])
            fits = passages + count <= self.batch_size and (len(held) + 1) * len(prefix) <= PREFIX_TOKENS
            if held and (len(held[0]) != len(prefix) or not fits):
                yield held
                held, passages = [], 0
            held.append(prefix)
            passages += count
        if held:
            yield held

    def _batches(
        self, rows: Sequence[int], tokens: Mapping[int, list[int]]
    ) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Rows of like length with their tokens, the longest first: what does not fit shows at once."""
        most = default_tokens(self.language_model.device)
        for positions in token_batches([len(tokens[row]) for row in rows], most):
            for start in range(0, len(positions), self.batch_size):
                batch = [rows[at] for at in positions[start : start + self.batch_size]]
                yield batch, [tokens[row] for row in batch]

    @property
    def _pad_id(self) -> int:
        return int(self.language_model.tokenizer.pad_token_id or 0)  # masked, whatever it is


def require_context(language_model: LanguageModel, max_length: int) -> None:
    """Whether the model can read so many tokens.

    Raises:
        InputError: it cannot.
    """
    if max_length > language_model.context:
        raise InputError(
            f"max_length is {max_length}, but '{language_model.name}' reads {language_model.context} tokens",
            remedy=f"set the teacher's max_length to {language_model.context} or less",
        )
