"""A model on a server that is asked to write questions.

Every answer is written down as it comes, under a hash of what was asked: a run that is killed, or whose
settings change, pays for none of them twice.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.data.formats.fields import json_object
from limbeck.errors import InputError
from limbeck.query_generation.prompts import PROMPTS, check_prompt, filled, question_in
from limbeck.servers import Answer, Cost, Request, TokenCounter
from limbeck.servers.tokens import TEMPLATE_TOKENS
from limbeck.texts import single_lines

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from limbeck.data import Passage
    from limbeck.servers import ServerClient


class AnswerLog:
    """Answers on disk, one a line, appended as they come; what a kill cut off at the end is asked again.

    Args:
        path: of the file; made with the first answer.

    Raises:
        InputError: a line, other than a last one that was cut off, is something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._texts: dict[str, str] = {}
        if not self.path.is_file():
            return
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
            try:
                record = json_object(line.decode())
                self._texts[str(record["key"])] = str(record["text"])
            except (InputError, KeyError, UnicodeDecodeError):
                raise InputError(
                    "the line is no answer of a server",
                    path=self.path,
                    line=number,
                    remedy="move the file away; what it holds is then asked again",
                ) from None
        if len(whole) < len(content):
            with self.path.open("r+b") as stream:
                stream.truncate(len(whole))

    def __contains__(self, key: object) -> bool:
        return key in self._texts

    def __getitem__(self, key: str) -> str:
        return self._texts[key]

    def add(self, key: str, text: str) -> None:
        """Keep an answer."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as stream:
            # In ASCII: some of the characters that JSON leaves as they are end a line to others.
            stream.write((json.dumps({"key": key, "text": text}) + "\n").encode())
        self._texts[key] = text


class ServerWriter:
    """Has a model on a server write questions, one a request.

    Args:
        client: of the server.
        log: where answers are kept.
        prompt: with `{passage}` where the passage goes.
        max_passage_length: tokens of a passage that are sent, as `TokenCounter` guesses them.
        max_query_length: tokens of an answer.
        temperature: above 0, for questions that differ.
        seed: sent along; whether a server heeds it is up to it.
        options: further keys of each request: what keeps a model of vLLM from reasoning aloud is
            `{"chat_template_kwargs": {"enable_thinking": False}}`.

    Raises:
        InputError: a prompt without a place for the passage.

    Example:
        >>> client = ServerClient(Endpoint("http://localhost:8000/v1", "Qwen/Qwen3-8B"))
        >>> ServerWriter(client, AnswerLog("answers.jsonl")).write([Passage("d1", "Cats sleep all day.")], 1)
        [['How long do cats sleep?']]
    """

    def __init__(
        self,
        client: ServerClient,
        log: AnswerLog,
        prompt: str = PROMPTS["en"],
        *,
        max_passage_length: int = 384,
        max_query_length: int = 48,
        temperature: float = 1.0,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.client = client
        self.log = log
        self.prompt = check_prompt(prompt)
        self.max_passage_length = max_passage_length
        self.max_query_length = max_query_length
        self.temperature = temperature
        self.seed = seed
        self.options = dict(options or {})
        self._counter = TokenCounter()

    def settings(self) -> dict[str, Any]:
        """What the questions depend on besides the passages, as far as the server tells."""
        return {
            "writer": "server",
            "model": self.client.endpoint.model,
            "prompt": self.prompt,
            "max_passage_length": self.max_passage_length,
            "max_query_length": self.max_query_length,
            "temperature": self.temperature,
            "seed": self.seed,
            **({"options": self.options} if self.options else {}),
        }

    def cost(self, passages: Iterable[Passage], count: int) -> Cost:
        """What asking for `count` questions of each passage will send, and the most that it will get.

        What was answered is not counted, nor a request that is the same as one before it.
        """
        size_of = {
            key: request.prompt_tokens
            for passage in passages
            for number in range(count)
            if (key := self._key(request := self._request(passage, number))) not in self.log
        }
        return Cost(len(size_of), sum(size_of.values()), len(size_of) * self.max_query_length)

    def write(self, passages: Sequence[Passage], count: int) -> list[list[str]]:
        """(passages,) lists of up to `count` questions each.

        Raises:
            InputError: as `ServerClient.ask`; the answers that came are kept.
        """
        requests = [self._request(passage, number) for passage in passages for number in range(count)]
        keys = [self._key(request) for request in requests]
        first = {key: place for place, key in reversed(list(enumerate(keys))) if key not in self.log}
        places = sorted(first.values())
        for place, text in self.client.ask([requests[place] for place in places], _text):
            self.log.add(keys[places[place]], text)
        texts = [question_in(self.log[key]) for key in keys]
        return [single_lines(texts[at * count : (at + 1) * count]) for at in range(len(passages))]

    def _request(self, passage: Passage, number: int) -> Request:
        text = filled(self.prompt, self._counter.shorten(passage.content, self.max_passage_length))
        # Each question of a passage has a seed of its own, or a server that heeds it writes the same again.
        digest = hashlib.blake2b(f"{self.seed}\0{number}\0{passage.content}".encode(), digest_size=4).digest()
        drawn = {"temperature": self.temperature, "seed": int.from_bytes(digest, "big") >> 1}
        return Request(
            [{"role": "user", "content": text}],
            self.max_query_length,
            self._counter.count(text) + TEMPLATE_TOKENS,
            self.options | drawn,
            f"passage {passage.id}",
        )

    def _key(self, request: Request) -> str:
        asked = [self.client.endpoint.model, request.prompt, request.max_tokens, dict(request.options)]
        return hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=16).hexdigest()


def _text(_place: int, answer: Answer) -> str:
    # Half a surrogate pair, which JSON can hold and UTF-8 cannot, must not cost an answer that was paid for.
    return answer.text.encode(errors="replace").decode()
