"""What is asked of a server: where it is, a request, an answer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from limbeck.errors import InputError

Api = Literal["chat", "completions"]
Messages = Sequence[Mapping[str, str]]
"""Turns of a conversation: mappings with `role` and `content`."""


@dataclass(frozen=True)
class Endpoint:
    """A model on a server that speaks OpenAI's protocol.

    Attributes:
        url: up to and with `/v1` for most servers.
        model: as the server calls it.
        api_key_env: the environment variable with the key; None where none is needed. The key itself is
            written nowhere.
        concurrency: requests under way at once.
        requests_per_minute: at most, evenly spread; None does not limit them.
        tokens_per_minute: sent and written, at most; None does not limit them.
        timeout_s: seconds until an answer is no longer waited for.
        retries: how often a request is sent again that was answered with 408, 409, 429 or 5xx, or not at all;
            after what the server asks for (Retry-After) or else exponentially longer times.
    """

    url: str
    model: str
    api_key_env: str | None = None
    concurrency: int = 8
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout_s: float = 60.0
    retries: int = 5

    @property
    def key(self) -> str:
        """The key, from the environment; where none is needed, a word that servers ignore.

        Raises:
            InputError: the environment variable is not set.
        """
        if self.api_key_env is None:
            return "none"
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise InputError(
                f"the environment variable {self.api_key_env} is not set, which is to hold the key of "
                f"{self.url}",
                remedy=f"export {self.api_key_env}=…",
            )
        return key


@dataclass(frozen=True)
class Request:
    """One question.

    Attributes:
        prompt: the messages of a chat, or the text that is to be completed.
        max_tokens: of the answer.
        prompt_tokens: of the prompt, as far as one knows beforehand: what it may cost is reckoned from this.
        options: further keys of the request, such as `temperature`.
        about: what it is about, for messages.
    """

    prompt: Messages | str
    max_tokens: int
    prompt_tokens: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    about: str = ""


@dataclass(frozen=True)
class Answer:
    """What a server said.

    Attributes:
        choice: the first of the choices, as it came.
    """

    choice: Mapping[str, Any]

    @property
    def text(self) -> str:
        """What it wrote, "" where it wrote nothing."""
        message = self.choice.get("message")
        text = message.get("content") if isinstance(message, Mapping) else self.choice.get("text")
        return str(text or "")
