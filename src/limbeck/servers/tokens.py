"""Counting a text's tokens before a server is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limbeck.errors import InputError

#: Bytes of a token where no tokenizer is known: English has four, Chinese three (one character), code fewer.
BYTES_A_TOKEN = 3
#: Tokens that a chat template puts around a message, generously.
TEMPLATE_TOKENS = 16


class TokenCounter:
    """Counts tokens and shortens texts, by a tokenizer or by a guess.

    Args:
        tokenizer: a folder or a hub id; None guesses that a token has three bytes of UTF-8, which is too many
            tokens for English prose, and about right for Chinese.

    Raises:
        InputError: there is no tokenizer, or it cannot tell where in a text its tokens stand.

    Attributes:
        name: of the tokenizer, or of the guess; what is shortened depends on it.

    Example:
        >>> TokenCounter().count("Dogs bark.")
        4
        >>> TokenCounter().shorten("Dogs bark.", 2)
        'Dogs b'
    """

    def __init__(self, tokenizer: str | None = None) -> None:
        self._tokenizer = None if tokenizer is None else _loaded(tokenizer)
        self.name = (
            f"{BYTES_A_TOKEN} bytes a token" if tokenizer is None else f"tokenizer={Path(tokenizer).name}"
        )

    def count(self, text: str) -> int:
        """The number of tokens."""
        if self._tokenizer is None:
            return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN)
        return len(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def shorten(self, text: str, tokens: int) -> str:
        """The start of a text, so many tokens of it at most."""
        if self._tokenizer is None:
            start = text.encode("utf-8", "surrogatepass")[: tokens * BYTES_A_TOKEN]
            return start.decode("utf-8", "ignore")
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = encoded["offset_mapping"]
        return text if len(offsets) <= tokens else text[: offsets[tokens][0]]


def _loaded(name: str) -> Any:
    try:
        from transformers import AutoTokenizer  # noqa: PLC0415  # takes seconds
    except ModuleNotFoundError as error:
        raise InputError(
            "the package 'transformers' is not installed, so that no tokenizer can count tokens",
            remedy="pip install 'limbeck[dense]', or leave out `tokenizer`, and tokens are guessed",
        ) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(f"no tokenizer can be loaded from '{name}': {error}") from error
    if not tokenizer.is_fast:
        raise InputError(
            f"the tokenizer '{name}' cannot tell where in a text its tokens stand",
            expected="a fast tokenizer (tokenizer.json)",
            remedy="leave out `tokenizer`, and tokens are guessed",
        )
    return tokenizer
