"""A server as a teacher: a language model behind OpenAI's protocol is asked yes or no."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp

from limbeck.errors import InputError
from limbeck.servers.budget import Cost
from limbeck.servers.endpoint import Answer, Api, Request
from limbeck.servers.log_probabilities import first_token_log_probabilities
from limbeck.servers.tokens import TEMPLATE_TOKENS, TokenCounter
from limbeck.teachers.base import shorten
from limbeck.teachers.llm.prompts import PROMPTS, Prompt

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from limbeck.servers.client import ServerClient
    from limbeck.teachers.base import Pair

MAX_LENGTH = 512
#: Tokens of a passage that must have room beside the query; less of it tells nothing.
LEAST_PASSAGE = 16
#: The most that OpenAI's protocol gives.
TOP_LOG_PROBABILITIES = 20
#: Of what is left beside a probability of 1, which servers compute in single precision.
_LEAST_PROBABILITY = 2.0**-24
#: What tokenizers put in the place of a space, where a server gives their tokens as they are.
_SPACES = " \t\r\n\u0120\u010a\u2581"


class ServerTeacher:
    """The logit of yes against no that a model on a server gives to a question about query and passage.

    The server is asked for one token and the log-probabilities of the likeliest ones. The score is
    `logsumexp(yes) - logsumexp(no)` over the spellings among them: in any case, with or without a space.
    Where a side has none, it counts as likely as the last of them, or, where they are all of the other side,
    as what these leave of 1. That is the most that it can be: the score is then too close to zero. Pairs go
    to the server query by query, so that one which keeps what prompts begin with (vLLM, llama.cpp, SGLang)
    reads instruction and query once.

    The version names model, settings and prompt, and not the server: a score from one serves for another
    that runs the same model. A provider who changes a model without changing its name cannot be noticed.

    Args:
        client: asks the server.
        prompt: the question.
        api: `"chat"` sends it as a user's turn, `"completions"` as text to go on with.
        max_length: tokens of the whole prompt; longer passages are shortened.
        counter: counts them.
        top: how many of the likeliest tokens are asked for.
        options: further keys of each request, such as `chat_template_kwargs` of vLLM.

    Attributes:
        shortened: how many passages were shortened so far.

    Source: D2LLM, arXiv 2406.17262, section 3.1.

    Example:
        >>> client = ServerClient(Endpoint("http://localhost:8000/v1", "Qwen/Qwen3-8B"))
        >>> ServerTeacher(client).score([("who barks", "Dogs bark.")])
        array([6.1])
    """

    name = "server"
    shares_prefix = True

    def __init__(
        self,
        client: ServerClient,
        prompt: Prompt = PROMPTS["asymmetric", "en"],
        *,
        api: Api = "chat",
        max_length: int = MAX_LENGTH,
        counter: TokenCounter | None = None,
        top: int = TOP_LOG_PROBABILITIES,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.client = client
        self.api = api
        self.max_length = max_length
        self.shortened = 0
        self._counter = counter or TokenCounter()
        self._parts = prompt.parts
        self._yes, self._no = ([word.strip().casefold() for word in side] for side in (prompt.yes, prompt.no))
        self._fixed = sum(map(self._counter.count, self._parts)) + TEMPLATE_TOKENS * (api == "chat")
        self._options = dict(options or {})
        self.prompt = f"{prompt.template}[yes: {', '.join(prompt.yes)}; no: {', '.join(prompt.no)}]"
        settings = [f"max_length={max_length}", self._counter.name, f"top={top}"]
        settings += [f"{key}={value}" for key, value in sorted(self._options.items())]
        self.version = "/".join([client.endpoint.model, api, *settings])
        asked = {"logprobs": top} if api == "completions" else {"logprobs": True, "top_logprobs": top}
        self._options |= {"temperature": 0} | asked

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """The scores (pairs,), in the order asked.

        Raises:
            InputError: as `scores_as_they_come`.
        """
        scores = np.full(len(pairs), np.nan)
        for at, score in self.scores_as_they_come(pairs):
            scores[at] = score
        return scores

    def scores_as_they_come(self, pairs: Sequence[Pair]) -> Generator[tuple[int, float]]:
        """Places among the pairs and their scores, in the order in which the answers come.

        Raises:
            LimitReachedError: the next pair could cost more than may be spent.
            InputError: a query leaves no room for a passage; the server fails, gives no log-probabilities, or
                answers neither yes nor no. All scores that were paid for are given before.
        """
        requests = [self._request(*pair) for pair in pairs]
        yield from self.client.ask(requests, lambda at, answer: self._read(answer, *pairs[at]))

    def cost(self, pairs: Sequence[Pair]) -> Cost:
        """What asking for these pairs will send, and the most that it will get."""
        tokens = [self._tokens(query, self._shortened(query, passage)) for query, passage in pairs]
        return Cost(len(pairs), sum(tokens), len(pairs))

    def _request(self, query: str, passage: str) -> Request:
        kept = self._shortened(query, passage)
        self.shortened += kept != passage
        head, middle, tail = self._parts
        text = f"{head}{query}{middle}{kept}{tail}"
        return Request(
            prompt=text if self.api == "completions" else [{"role": "user", "content": text}],
            max_tokens=1,
            prompt_tokens=self._tokens(query, kept),
            options=self._options,
            about=_named(query, passage),
        )

    def _shortened(self, query: str, passage: str) -> str:
        used = self._fixed + self._counter.count(query)
        room = self.max_length - used
        if room < LEAST_PASSAGE and room < self._counter.count(passage):
            raise InputError(
                f"the query '{shorten(query)}' leaves room for {max(room, 0)} tokens of a passage: with the "
                f"prompt it takes {used} of {self.max_length}",
                remedy=f"set the member's max_length to {used + LEAST_PASSAGE} or more, or shorten the query",
            )
        return self._counter.shorten(passage, room)

    def _tokens(self, query: str, passage: str) -> int:
        return self._fixed + self._counter.count(query) + self._counter.count(passage)

    def _read(self, answer: Answer, query: str, passage: str) -> float:
        tokens = first_token_log_probabilities(answer.choice)
        if tokens is None:
            raise InputError(
                f"{self._model} answered '{shorten(answer.text)}' without log-probabilities to "
                f"{_named(query, passage)}",
                expected="the log-probabilities of its first token",
                remedy="use a server that gives them (vLLM, llama.cpp, SGLang, OpenAI's models that do not "
                "reason), or try `api: completions`",
            )
        return self.score_of(tokens, query, passage)

    def score_of(self, tokens: Sequence[tuple[str, float]], query: str, passage: str) -> float:
        """The score that the likeliest first tokens and their log-probabilities give.

        Raises:
            InputError: there are none, or they say neither yes nor no.
        """
        if not tokens:
            raise InputError(
                f"{self._model} gave no finite log-probability to {_named(query, passage)}",
                remedy="look for broken weights or an overflow of half precision on the server",
            )
        yes, no = (_side(tokens, *sides) for sides in ((self._yes, self._no), (self._no, self._yes)))
        if not yes and not no:
            likeliest = ", ".join(f"'{token}'" for token, _ in tokens[:5])
            raise InputError(
                f"{self._model} answered neither yes nor no to {_named(query, passage)}: the likeliest first "
                f"tokens are {likeliest}",
                expected=f"one of {', '.join((*self._yes, *self._no))} among the {len(tokens)} likeliest",
                remedy="set a `prompt` that leads to the answer; of a model that reasons aloud, switch that "
                "off with `options`",
            )
        least = [_most_of_what_is_missing([value for _, value in tokens], yes or no)]
        return float(logsumexp(yes or least) - logsumexp(no or least))

    @property
    def _model(self) -> str:
        return f"the model '{self.client.endpoint.model}'"


def _side(tokens: Sequence[tuple[str, float]], words: Sequence[str], others: Sequence[str]) -> list[float]:
    """The values of the tokens that are words of a side, or else of those that these words begin with."""
    read = [(token.strip(_SPACES).casefold(), value) for token, value in tokens]
    if whole := [value for text, value in read if text in words]:
        return whole
    return [
        value
        for text, value in read
        if text
        and any(word.startswith(text) for word in words)
        and not any(word.startswith(text) for word in others)
    ]


def _most_of_what_is_missing(values: Sequence[float], side: Sequence[float]) -> float:
    """The most that the log-probability of a side can be of which no token is given.

    It is no likelier than the last of those that are given. Where these are all of the other side, as they
    are of a model so sure that nothing else has a number, it is no likelier than what they leave, either.

    Args:
        values: of all tokens that are given.
        side: those of the other side.
    """
    last = min(values)
    if len(side) < len(values):
        return last
    return min(last, math.log(max(1 - math.exp(logsumexp(side)), _LEAST_PROBABILITY)))


def _named(query: str, passage: str) -> str:
    return f"the query '{shorten(query)}' and the passage '{shorten(passage)}'"
