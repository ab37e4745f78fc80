"""A server with OpenAI's protocol around a language model, in a process of its own.

It computes what it answers: the log-probabilities of the next token, and greedily written texts. Switches,
and the keys `fault` and `slow` of a request, make it do what servers do on bad days. It writes a line of JSON
about each request before it answers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.servers.processes import started

MODEL = "tiny"


@dataclass
class TinyServer:
    """A server that runs."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def requests(self) -> list[dict[str, Any]]:
        """All that it was asked, with `status`, `text` and `under_way` (requests at once)."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def answered(self, since: int = 0) -> list[str]:
        """The prompts that it answered, of the requests from that number on."""
        return [request["text"] for request in self.requests[since:] if request["status"] == 200]


@contextmanager
def serving(model: Path, log: Path, *switches: str) -> Iterator[TinyServer]:
    """Starts a server of a model's folder, and ends it."""
    log.touch()
    command = [sys.executable, "-m", "tests.servers.tiny_server", str(model), str(log), *switches]
    with started(command, log.with_suffix(".errors")) as (port, process):
        yield TinyServer(f"http://127.0.0.1:{port}/v1", log, process)


class Model:
    """A causal language model that can be made to like some words.

    Args:
        folder: of the model.
        favour: words whose tokens get a larger logit, all by the same.
    """

    def __init__(self, folder: Path, favour: Sequence[str]) -> None:
        torch.set_num_threads(1)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        words = {word.casefold() for word in favour}
        read = [self.tokenizer.decode([token]).strip().casefold() for token in range(len(self.tokenizer))]
        self.favoured = [token for token, text in enumerate(read) if text in words]

    def ids(self, body: dict[str, Any]) -> list[int]:
        """The tokens of what is asked."""
        text = body.get("prompt")
        if text is None:
            text = self.tokenizer.apply_chat_template(
                body["messages"], add_generation_prompt=True, tokenize=False
            )
        return list(self.tokenizer(text)["input_ids"])

    def next_logits(self, ids: list[int]) -> torch.Tensor:
        """Of the token that follows."""
        with torch.no_grad():
            logits = self.model(torch.tensor([ids])).logits[0, -1].float()
        logits[self.favoured] += 50.0
        return logits

    def written(self, ids: list[int], count: int) -> str:
        """The likeliest tokens, one after the other."""
        new: list[int] = []
        for _ in range(count):
            new.append(int(self.next_logits(ids + new).argmax()))
        return self.tokenizer.decode(new)

    def top(self, ids: list[int], count: int) -> list[dict[str, Any]]:
        """The likeliest next tokens."""
        values, tokens = self.next_logits(ids).log_softmax(0).topk(count)
        return [
            {"token": self.tokenizer.decode([token]), "logprob": value}
            for token, value in zip(tokens.tolist(), values.tolist(), strict=True)
        ]


def answer(model: Model, body: dict[str, Any]) -> dict[str, Any]:
    """What OpenAI's protocol says, less what the request's `fault` takes away."""
    chat, fault = "messages" in body, body.get("fault")
    ids = model.ids(body)
    said = model.written(ids, body["max_tokens"])
    top = model.top(ids, body.get("top_logprobs" if chat else "logprobs") or 0)
    if fault == "values":
        top = [entry | {"logprob": None} for entry in top]
    detailed = {"content": [{"token": said, "logprob": 0.0, "top_logprobs": top}]}
    flat = {"tokens": [said], "top_logprobs": [{entry["token"]: entry["logprob"] for entry in top}]}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "length"}
    choice |= {"message": {"role": "assistant", "content": said}} if chat else {"text": said}
    choice["logprobs"] = detailed if chat or fault == "llama.cpp" else flat
    if fault == "logprobs":
        choice["logprobs"] = None
    used = {"prompt_tokens": len(ids), "completion_tokens": body["max_tokens"]}
    usage = {"usage": used | {"total_tokens": sum(used.values())}}
    kind = "chat.completion" if chat else "text_completion"
    return {
        "id": "1",
        "created": 0,
        "model": MODEL,
        "object": kind,
        "choices": [] if fault == "choices" else [choice],
        **({} if fault == "usage" else usage),
    }


class Endpoints:
    """Answers requests or refuses them, counts them and writes them down."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.model = Model(options.model, options.favour)
        self.requests = self.answered = self.under_way = 0
        self.lock = threading.Lock()

    def handle(self, body: dict[str, Any], request: Request) -> Response:
        """Of chats and of completions."""
        text = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        with self.lock:
            self.requests += 1
            self.under_way += 1
            entry = {"text": text, "under_way": self.under_way}
            response: Response | None = self.refusal(body, text, request.headers.get("authorization", ""))
            # Several may be answered between two requests.
            if response is None and self.answered >= self.options.die_after:
                os._exit(1)
        if response is None:
            time.sleep(body.get("slow", 0))
        with self.lock:
            if response is None:
                response = spoilt(answer(self.model, body), body.get("fault"))
                self.answered += 1
            self.under_way -= 1
            with self.options.log.open("a") as log:
                log.write(json.dumps(entry | {"status": response.status_code}) + "\n")
        return response

    def refusal(self, body: dict[str, Any], text: str, header: str) -> JSONResponse | None:
        """An error, where there is to be one."""
        options = self.options
        if options.key and header != f"Bearer {options.key}":
            return _error(401, f"Incorrect API key provided: {header.removeprefix('Bearer ')}.")
        if body["model"] != MODEL:
            return _error(404, f"The model `{body['model']}` does not exist.")
        if self.requests <= options.busy:
            return _error(429, "Slow down.", {"retry-after": "0.05"})
        if self.requests <= options.busy + options.broken:
            return _error(500, "Something went wrong.", {"retry-after": "0.05"})
        if options.refuse and options.refuse in text:
            return _error(400, "This model's maximum context length is 512 tokens.")
        return None


def spoilt(content: dict[str, Any], fault: str | None) -> Response:
    """The answer as it is sent, in a form that the protocol does not know where that is the fault."""
    if fault == "json":
        return Response('{"choices": [', media_type="application/json")
    if fault == "null":
        content["choices"] = [None]
    elif fault == "error":
        content = {"error": {"message": "the model is overloaded"}}
    elif fault == "odd usage":
        content["usage"] = {"prompt_tokens": -7, "completion_tokens": "2"}
    return JSONResponse(content)


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "code": status}}, status, headers)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--favour", nargs="*", default=[], help="words whose tokens get a larger logit")
    parser.add_argument(
        "--die-after", type=float, default=math.inf, help="exit at a request after so many answers"
    )
    parser.add_argument("--busy", type=int, default=0, help="answer the first requests with 429")
    parser.add_argument("--broken", type=int, default=0, help="answer the next ones with 500")
    parser.add_argument("--refuse", help="answer prompts with this word with 400")
    parser.add_argument("--key", help="answer 401 unless this key is given")
    endpoints = Endpoints(parser.parse_args())
    application = FastAPI()
    application.post("/v1/chat/completions")(endpoints.handle)
    application.post("/v1/completions")(endpoints.handle)
    listening = socket.create_server(("127.0.0.1", endpoints.options.port))
    server = uvicorn.Server(uvicorn.Config(application, log_level="critical"))
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()
