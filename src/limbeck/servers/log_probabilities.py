"""The log-probabilities of an answer's first token, as the servers that speak OpenAI's protocol give them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
    given = choice.get("logprobs") or {}
    if content := given.get("content"):
        alternatives = content[0].get("top_logprobs") or []
        return _finite([(one.get("token"), one.get("logprob")) for one in alternatives])
    if alternatives := given.get("top_logprobs"):
        return _finite(list((alternatives[0] or {}).items()))
    return None


def _finite(tokens: Sequence[tuple[Any, Any]]) -> list[tuple[str, float]]:
    return [
        (str(token), float(value))
        for token, value in tokens
        if isinstance(value, int | float) and math.isfinite(value) and value > _NEVER
    ]
