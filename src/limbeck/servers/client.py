"""A client of any OpenAI-compatible server: concurrency, a pace, a budget, and errors that say what to do.

Design facts:
- Connections, retries with back-off and Retry-After are those of the package `openai`. Every attempt, a
  repeated one too, waits for the pace and is entered into the budget before it leaves.
- Requests run in a thread with an event loop of its own, so that a client also works in a notebook; answers
  are handed over as they come.
- The first request goes alone: what is wrong with all of them then shows before the others are paid for.
- After a failure nothing new is sent, but what is under way is waited for and handed over, since it is paid
  for; the error comes last.
"""

from __future__ import annotations

import asyncio
import json
import threading
import weakref
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from limbeck.errors import InputError
from limbeck.servers.budget import Budget
from limbeck.servers.endpoint import Answer, Endpoint, Messages, Request
from limbeck.servers.pace import Pace
from limbeck.servers.tokens import TEMPLATE_TOKENS, TokenCounter

try:
    import httpx2
    import openai
except ModuleNotFoundError as missing:
    raise InputError(
        f"the package '{missing.name}' is not installed", remedy="pip install 'limbeck[server]'"
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

_AGAIN = "start the same command again: what was answered is not asked again"


@dataclass
class _Attempt:
    """A request on its way, and where its latest attempt is entered."""

    request: Request
    number: int | None = None


_under_way: ContextVar[_Attempt] = ContextVar("request under way")


class ServerClient:
    """Asks a model on a server.

    Args:
        endpoint: where it is and how it may be asked.
        budget: what may be spent; None sets no limit.

    Attributes:
        answers: how many came so far and could be read.

    Raises:
        InputError: the environment variable of the key is not set, or the package `openai` is not installed.

    Example:
        >>> client = ServerClient(Endpoint("http://localhost:8000/v1", "Qwen/Qwen3-8B"))
        >>> client.chat([{"role": "user", "content": "Say hello."}], max_tokens=10)
        'Hello!'
    """

    def __init__(self, endpoint: Endpoint, budget: Budget | None = None) -> None:
        self.endpoint = endpoint
        self.budget = budget or Budget()
        self.answers = 0
        self._key = endpoint.key
        self._counter = TokenCounter()
        self._loop = asyncio.new_event_loop()
        self._openai = openai.AsyncOpenAI(
            api_key=self._key,
            base_url=endpoint.url,
            timeout=endpoint.timeout_s,
            max_retries=endpoint.retries,
            http_client=_MeteredClient(endpoint, self.budget),
        )
        threading.Thread(target=_run, args=(self._loop,), daemon=True).start()
        self._finalizer = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def close(self) -> None:
        """Stop the thread; what is under way is given up."""
        self._finalizer()

    def chat(
        self,
        messages: Messages,
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> str:
        """The model's answer to a conversation.

        Args:
            messages: its turns.
            max_tokens: of the answer.
            temperature: 0 for the likeliest answer.
            seed: of the sampling, where the server knows such a thing.

        Raises:
            LimitReachedError: it could cost more than may be spent.
            InputError: as `ask`.
        """
        tokens = sum(self._counter.count(turn["content"]) + TEMPLATE_TOKENS for turn in messages)
        options = {"temperature": temperature} | ({} if seed is None else {"seed": seed})
        request = Request(messages, max_tokens, tokens, options)
        ((_, text),) = self.ask([request], lambda _, answer: answer.text)
        return text

    def ask(self, requests: Sequence[Request], read: Callable[[int, Answer], T]) -> Iterator[tuple[int, T]]:
        """What is read from the answers, with the places of their requests, in the order in which they come.

        Args:
            requests: what is asked.
            read: is given the place of a request and its answer; an InputError of it ends the asking.

        Raises:
            LimitReachedError: the next request could cost more than may be spent.
            InputError: the server cannot be reached, refuses a request, or answers with something else than
                the protocol says; `read` refuses an answer. What could be read is given before.
        """
        waiting = iter(enumerate(requests))
        pending: dict[Future[Answer], int] = {}
        failure: Exception | None = None
        try:
            while True:
                width = self.endpoint.concurrency if self.answers else 1
                while failure is None and len(pending) < width and (following := next(waiting, None)):
                    place, request = following
                    pending[asyncio.run_coroutine_threadsafe(self._answer(request), self._loop)] = place
                if not pending:
                    break
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    place = pending.pop(future)
                    try:
                        result = read(place, future.result())
                    except Exception as error:  # noqa: BLE001  # raised below, after what is paid for
                        failure = failure or error
                        continue
                    self.answers += 1
                    yield place, result
        finally:
            for future in pending:
                future.cancel()
        if failure is not None:
            raise failure

    async def _answer(self, request: Request) -> Answer:
        attempt = _Attempt(request)
        _under_way.set(attempt)
        try:
            response = await self._create(request)
        except openai.OpenAIError as error:
            raise self._explained(error, request) from error
        except json.JSONDecodeError as error:
            raise InputError(
                f"{self._name} gave an answer that is no JSON ({error})",
                expected="an answer of OpenAI's protocol",
                remedy=f"look at the server's log; then {_AGAIN}",
            ) from error
        content = response.model_dump(warnings=False) if hasattr(response, "model_dump") else {}
        if attempt.number is not None:
            usage = content.get("usage")
            self.budget.settle(
                attempt.number,
                request.prompt_tokens,
                _reported(usage, "prompt_tokens", request.prompt_tokens),
                _reported(usage, "completion_tokens", request.max_tokens),
            )
        choices = content.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            said = {key: value for key, value in content.items() if value is not None} or response
            raise InputError(
                f"{self._name} gave an answer without choices: {str(said)[:200]}",
                expected="an answer of OpenAI's protocol",
                remedy="see what it says; if it says nothing, check `url`: for most servers it ends in /v1",
            )
        return Answer(choices[0])

    async def _create(self, request: Request) -> Any:
        common: dict[str, Any] = {
            "model": self.endpoint.model,
            "max_tokens": request.max_tokens,
            "extra_body": dict(request.options),  # also what OpenAI's own protocol does not know
        }
        if isinstance(request.prompt, str):
            return await self._openai.completions.create(prompt=request.prompt, **common)
        messages = cast("Any", [dict(turn) for turn in request.prompt])
        return await self._openai.chat.completions.create(messages=messages, **common)

    @property
    def _name(self) -> str:
        return f"the server at {self.endpoint.url}"

    def _explained(self, error: openai.OpenAIError, request: Request) -> InputError:
        """What an error of the library means, and what to do."""
        again = _AGAIN
        times = f"{self.endpoint.retries + 1} times"
        if isinstance(error, openai.APITimeoutError):
            return InputError(
                f"{self._name} gave no answer within {self.endpoint.timeout_s:g} s, {times}",
                remedy=f"raise `timeout_s` or lower `concurrency`; then {again}",
            )
        if isinstance(error, openai.APIConnectionError):
            return InputError(
                f"{self._name} cannot be reached, tried {times} ({error.__cause__ or error})",
                remedy=f"see that it runs and that `url` is right; then {again}",
            )
        if isinstance(error, openai.APIStatusError):
            return self._refusal(error, request, again)
        return InputError(f"{self._name}: {self._told(error)}", remedy=again)

    def _refusal(self, error: openai.APIStatusError, request: Request, again: str) -> InputError:
        status, told = error.status_code, self._told(error)
        about = f" to {request.about}" if request.about else ""
        said = f"{self._name} answered {status}{about}: {told}"
        if status in {401, 403}:
            variable = self.endpoint.api_key_env
            key = f"put a valid key into the environment variable {variable}" if variable else None
            return InputError(said, remedy=key or "name the environment variable of the key in `api_key_env`")
        if status == 404:
            return InputError(
                said, expected="the name of a model that it serves", remedy="check `model` and `url`"
            )
        if status == 429 or status >= 500:
            return InputError(
                f"{said} ({self.endpoint.retries + 1} times)",
                remedy=f"lower `concurrency`, set `requests_per_minute` or wait; then {again}",
            )
        if "context" in told.lower() or "too long" in told.lower():
            return InputError(said, remedy="lower `max_length` so that prompts fit the model's context")
        return InputError(said)

    def _told(self, error: openai.OpenAIError) -> str:
        body = getattr(error, "body", None)
        told = body.get("message") if isinstance(body, dict) else None
        if not told and isinstance(error, openai.APIStatusError):
            told = error.response.text
        text = str(told or error)
        if self.endpoint.api_key_env is not None:  # some servers repeat the key that they refuse
            text = text.replace(self._key, "[key]")
        return text.strip().rstrip(".")[:300]


class _MeteredClient(openai.DefaultAsyncHttpxClient):
    """Sends each attempt when the pace allows it and the budget has it entered."""

    def __init__(self, endpoint: Endpoint, budget: Budget) -> None:
        super().__init__(timeout=endpoint.timeout_s)
        self._budget = budget
        self._requests = Pace(endpoint.requests_per_minute)
        self._tokens = Pace(endpoint.tokens_per_minute)

    async def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
        attempt = _under_way.get()
        asked = attempt.request
        await self._requests.take(1)
        await self._tokens.take(asked.prompt_tokens + asked.max_tokens)
        number = attempt.number = self._budget.enter(asked.prompt_tokens, asked.max_tokens)
        try:
            response = await super().send(request, **kwargs)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            self._budget.withdraw(number)
            raise
        if response.is_error:
            self._budget.withdraw(number)
        return response


def _reported(usage: object, key: str, counted: int) -> int:
    """The tokens that a server says it used; what was counted where it does not say so, or says nonsense."""
    found = usage.get(key) if isinstance(usage, dict) else None
    return found if isinstance(found, int) and found >= 0 else counted


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
