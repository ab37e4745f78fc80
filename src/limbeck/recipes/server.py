"""Section: a model on a server that speaks OpenAI's protocol, and what may be asked of it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, JsonValue, model_validator

from limbeck.recipes.base import Section


def _url(text: str) -> str:
    parts = urlsplit(text)
    _ = parts.port  # a ValueError where it is none
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"'{text}' is no address such as http://localhost:8000/v1")
    if parts.username or parts.password:
        raise ValueError("a recipe holds no password: name an environment variable in `api_key_env`")
    return text


class TokenPrice(Section):
    """What a million tokens cost, in any currency."""

    prompt: float = Field(ge=0, description="Of what is sent.")
    completion: float = Field(ge=0, description="Of what is written.")


#: Keys of a request that say what is asked, how much may be answered, and so what it costs.
OWN_OPTIONS = frozenset(
    {
        "best_of",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "prompt",
        "stream",
        "temperature",
        "top_logprobs",
    }
)


class ServerSection(Section):
    """What every section says that asks a server.

    Attributes:
        own_options: keys that cannot stand under `options`.
    """

    own_options: ClassVar[frozenset[str]] = OWN_OPTIONS

    url: Annotated[str, AfterValidator(_url)] = Field(description="Up to and with /v1 for most servers.")
    model: str = Field(min_length=1, description="As the server calls it.")
    api_key_env: str | None = Field(
        None, description="The environment variable that holds the key; the key itself stands nowhere."
    )
    concurrency: int = Field(8, ge=1, description="Requests under way at once.")
    requests_per_minute: float | None = Field(None, gt=0, description="At most; null does not limit them.")
    tokens_per_minute: float | None = Field(None, gt=0, description="At most; null does not limit them.")
    timeout_s: float = Field(60.0, gt=0, description="Seconds that an answer is waited for.")
    retries: int = Field(
        5, ge=0, description="Of a request that the server was too busy or broken to answer."
    )
    price: TokenPrice | None = Field(None, description="null where nothing is paid.")
    limit: float | None = Field(
        None,
        gt=0,
        description="The most that may be spent here, in the currency of `price`; what is sure to cost more "
        "is not begun.",
    )

    options: dict[str, JsonValue] = Field(
        {}, description="Further keys of each request, such as chat_template_kwargs."
    )

    @model_validator(mode="after")
    def _requests_are_as_reckoned(self) -> Self:
        # With more tokens or answers a request costs more than was reckoned before it was sent.
        if own := sorted(self.own_options & self.options.keys()):
            raise ValueError(f"options.{own[0]}: this is set for each request and cannot be changed")
        return self

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.limit is not None and self.price is None:
            raise ValueError("a limit on what may be spent needs a price: set `price`")
        return self

    @property
    def answering(self) -> Self:
        """The section as far as answers depend on it: without the server's place, pace and price."""
        asked = {"model", "options"}
        ways = {
            name: field.default for name, field in ServerSection.model_fields.items() if name not in asked
        }
        return self.model_copy(update=ways | {"url": ""})
