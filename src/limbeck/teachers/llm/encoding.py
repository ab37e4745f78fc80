"""Pairs as tokens: a prefix with the query, a suffix with the passage, within a limit of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from limbeck.errors import InputError
from limbeck.teachers.base import shorten
from limbeck.teachers.llm.chat import in_chat
from limbeck.teachers.llm.prompts import split_template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from limbeck.teachers.base import Pair
    from limbeck.teachers.llm.prompts import Prompt

Chat = Literal["auto", "never"]
#: Tokens of a passage that must have room beside the query; less of it tells nothing.
LEAST_PASSAGE = 16


class PromptEncoder:
    """Turns pairs into tokens of a prompt.

    The parts of a prompt (instruction, query, passage, question) are tokenised each for itself, and the
    prompt is their concatenation. So no token spans the end of the query, whatever the tokenizer would merge
    there, and all passages of a query share the same first tokens. Special tokens are read in the instruction
    alone: in a query or a passage they are text.

    Args:
        tokenizer: of `transformers`.
        prompt: the question.
        max_length: tokens of the whole prompt. What is too much is taken from the end of the passage; never
            from the query, the instruction or the question.
        chat: `"auto"` puts the prompt into the tokenizer's chat template, where it has one, as the user's
            turn, and the answer follows as the assistant's, without thinking aloud; `"never"` does not.

    Attributes:
        parts: the fixed texts, the chat template's among them.
        shortened: how many passages were shortened so far.

    Raises:
        InputError: the chat template loses a placeholder or refuses the prompt, nothing follows the passage,
            or the fixed texts alone are `max_length` tokens or more.
    """

    def __init__(self, tokenizer: Any, prompt: Prompt, *, max_length: int, chat: Chat = "auto") -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.shortened = 0
        chats = chat == "auto" and tokenizer.chat_template is not None
        self.parts = prompt.parts
        if chats:
            self.parts = in_chat(tokenizer, prompt.template, split_template, remedy="set `chat: never`")
        # A space before a text belongs to its first word: " who" is one token in most vocabularies.
        head, middle, tail = self.parts
        self._spaces = [" " if text.endswith(" ") else "" for text in (head, middle)]
        fixed = (head.removesuffix(" "), middle.removesuffix(" "), tail)
        start = [] if chats else _start_of_text(tokenizer)
        self._head, self._middle, self._tail = self._ids(fixed)
        self._head = start + self._head
        if not self._tail:
            raise InputError(
                "the template ends with the passage",
                expected="what leads to the answer, such as a question and 'Answer:'",
                remedy="end the template with it, so that a long passage does not cut it off",
            )
        fixed_length = len(self._head) + len(self._middle) + len(self._tail)
        if fixed_length >= max_length:
            raise InputError(
                f"the prompt without query and passage takes {fixed_length} tokens of {max_length}",
                remedy="set the teacher's max_length to that and what query and passage need",
            )

    def _ids(self, texts: Sequence[str], **options: object) -> list[list[int]]:
        if not texts:
            return []
        encoded = self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, truncation=False,
            verbose=False, **options,
        )  # fmt: skip
        return [list(ids) for ids in encoded["input_ids"]]

    def encode(self, pairs: Sequence[Pair]) -> list[tuple[tuple[int, ...], list[int]]]:
        """The tokens up to the passage, and those from the passage on, of each pair.

        Raises:
            InputError: a query leaves no room for a passage.
        """
        prefixes = self._prefixes(list(dict.fromkeys(query for query, _ in pairs)))
        texts = list(dict.fromkeys(passage for _, passage in pairs))
        spaced = [f"{self._spaces[1]}{text}" for text in texts]
        passages = dict(zip(texts, self._ids(spaced, split_special_tokens=True), strict=True))
        return [
            (prefixes[query], self._suffix(query, prefixes[query], passages[text])) for query, text in pairs
        ]

    def _prefixes(self, queries: Sequence[str]) -> dict[str, tuple[int, ...]]:
        spaced = [f"{self._spaces[0]}{query}" for query in queries]
        tokens = self._ids(spaced, split_special_tokens=True)
        return {query: (*self._head, *ids, *self._middle) for query, ids in zip(queries, tokens, strict=True)}

    def _suffix(self, query: str, prefix: tuple[int, ...], passage: list[int]) -> list[int]:
        room = self.max_length - len(prefix) - len(self._tail)
        if room < min(len(passage), LEAST_PASSAGE):
            needed = len(prefix) + len(self._tail) + LEAST_PASSAGE
            raise InputError(
                f"the query '{shorten(query)}' leaves room for {max(room, 0)} tokens of a passage: with the "
                f"prompt it takes {len(prefix) + len(self._tail)} of {self.max_length}",
                remedy=f"set the teacher's max_length to {needed} or more, or shorten the query",
            )
        if len(passage) > room:
            self.shortened += 1
        return passage[:room] + self._tail


def _start_of_text(tokenizer: Any) -> list[int]:
    """The token that the tokenizer itself puts before a text, if it does."""
    start = tokenizer.bos_token_id
    return [start] if start is not None and tokenizer("")["input_ids"][:1] == [start] else []
