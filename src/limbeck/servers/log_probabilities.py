"""The log-probabilities of an answer's first token, as the servers that speak OpenAI's protocol give them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

#: What stands for a log-probability of minus infinity in OpenAI's protocol.
_NEVER = -9999.0


def first_token_log_probabilities(choice: Mapping[str, Any]) -> list[tuple[str, float]] | None:
    """The likeliest first tokens and their log-probabilities.

    Chats have a list of objects; completions a mapping, or, from llama.cpp, the chats' list too. Values
    that are null, NaN or infinite are left out.

    Args:
        choice: of an answer.

    Returns:
        Tokens in the server's order, perhaps none; None where the answer has no log-probabilities at all.

    Example:
        >>> first_token_log_probabilities({"logprobs": {"top_logprobs": [{" yes": -0.1, " no": -2.4}]}})
        [(' yes', -0.1), (' no', -2.4)]
    """
    given = choice.get("logprobs")
    if not isinstance(given, Mapping):
        return None
    first = _first(given.get("content"))
    if isinstance(first, Mapping):
        # A server may give the token that it chose alone, and nothing beside it.
        listed = first.get("top_logprobs") or None
        return None if not isinstance(listed, list) else _finite(map(_entry, listed))
    first = _first(given.get("top_logprobs"))
    return _finite(first.items()) if isinstance(first, Mapping) and first else None


def _first(values: object) -> object:
    return values[0] if isinstance(values, list) and values else None


def _entry(alternative: object) -> tuple[Any, Any]:
    if not isinstance(alternative, Mapping):
        return None, None
    return alternative.get("token"), alternative.get("logprob")


def _finite(tokens: Iterable[tuple[Any, Any]]) -> list[tuple[str, float]]:
    return [
        (str(token), float(value))
        for token, value in tokens
        if isinstance(value, int | float) and math.isfinite(value) and value > _NEVER
    ]
