"""A model on a server as a writer, against a real server of a tiny model in a process of its own."""

from __future__ import annotations

import json

import pytest

from limbeck.data import Passage
from limbeck.query_generation.server import AnswerLog, ServerWriter
from limbeck.servers import Answer, Budget, Cost, Endpoint, Ledger, LimitReachedError, Price, ServerClient
from tests.servers.tiny_server import MODEL

PASSAGES = [Passage(f"d{at}", f"the cat number {at} sat by the sea") for at in range(4)]


@pytest.fixture
def make(tmp_path):
    """Makes writers that share an answer log and a ledger, as the attempts of a run do."""
    made = []

    def writer(running, *, limit=None, **options):
        budget = Budget(Price(1.0, 1.0), limit, Ledger(tmp_path / "spent.sqlite"), "questions")
        client = ServerClient(Endpoint(running.url, MODEL, concurrency=2, retries=0), budget)
        made.append(client)
        options = {"max_query_length": 3} | options
        return ServerWriter(client, AnswerLog(tmp_path / "answers.jsonl"), "ask {passage}:", **options)

    yield writer
    for client in made:
        client.close()


def test_no_answer_is_asked_for_twice(make, server):
    before = len(server.requests)
    found = make(server).write(PASSAGES[:2], 2)
    assert len(server.requests) == before + 4
    assert make(server).write(PASSAGES[:2], 2) == found
    assert len(server.requests) == before + 4
    assert make(server).write(PASSAGES[:3], 2)[:2] == found
    assert len(server.requests) == before + 6
    asked = [request for request in server.requests[before:] if "number 0" in request["text"]]
    assert all(request["text"].count("ask the cat number 0 sat by the sea:") == 1 for request in asked)
    make(server, max_query_length=4).write(PASSAGES[:1], 1)
    assert len(server.requests) == before + 7


def test_what_came_before_the_server_died_is_kept(make, start_server, server, tmp_path):
    dying = start_server("--die-after", "3")
    with pytest.raises(Exception, match=r"server|reach|connect"):
        make(dying).write(PASSAGES, 1)
    kept = len((tmp_path / "answers.jsonl").read_text().splitlines())
    assert kept >= 2
    before = len(server.requests)
    assert len(make(server).write(PASSAGES, 1)) == 4
    assert len(server.requests) == before + 4 - kept


def test_what_it_costs_is_known_before(make, server):
    writer = make(server)
    # "ask the cat number 0 sat by the sea:" is 36 bytes: 12 tokens, and the chat's 16.
    assert writer.cost(PASSAGES, 2) == Cost(8, 8 * 28, 8 * 3)
    assert writer.cost([*PASSAGES, PASSAGES[0]], 2) == writer.cost(PASSAGES, 2)
    writer.write(PASSAGES[:1], 2)
    assert make(server).cost(PASSAGES, 2).requests == 6
    with pytest.raises(LimitReachedError, match="limit"):
        make(server, limit=1e-9).write(PASSAGES, 2)


@pytest.mark.parametrize("text", ["one\u2028two", "one\x85two", "one\x0c\rtwo", ""])
def test_an_answer_comes_back_with_whatever_ends_a_line(tmp_path, text):
    path = tmp_path / "answers.jsonl"
    AnswerLog(path).add("a", text)
    AnswerLog(path).add("b", "x")
    again = AnswerLog(path)
    assert (again["a"], again["b"]) == (text, "x")


def test_further_keys_go_with_each_request_and_count_as_another_question(make, server):
    options = {"chat_template_kwargs": {"enable_thinking": False}}
    plain, quiet = make(server), make(server, options=options)
    assert plain._request(PASSAGES[0], 0).options.keys() == {"temperature", "seed"}
    assert quiet._request(PASSAGES[0], 0).options.items() >= options.items()
    plain.write(PASSAGES[:1], 1)
    before = len(server.requests)
    quiet.write(PASSAGES[:1], 1)
    assert len(server.requests) == before + 1
    assert (plain.settings().get("options"), quiet.settings()["options"]) == (None, options)


def test_half_a_surrogate_pair_costs_no_answer(tmp_path):
    class Client:
        endpoint = Endpoint("http://localhost", MODEL)

        def ask(self, requests, read):
            message = {"content": "who barks \ud83d?"}
            return [(place, read(place, Answer({"message": message}))) for place in range(len(requests))]

    found = ServerWriter(Client(), AnswerLog(tmp_path / "answers.jsonl")).write(PASSAGES[:1], 1)
    assert found == [["who barks ??"]]
    assert found[0][0].encode()


def test_a_half_line_is_asked_again_and_others_are_refused(tmp_path, refused):
    path = tmp_path / "answers.jsonl"
    log = AnswerLog(path)
    log.add("a", "who\nbarks 猫")
    with path.open("ab") as stream:
        stream.write('{"key": "b", "text": "猫'.encode()[:-1])
    again = AnswerLog(path)
    assert again["a"] == "who\nbarks 猫"
    assert "b" not in again
    again.add("b", "x")
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b"]
    path.write_text('{"key": "a", "text": "x"}\n{}\n')
    refused(lambda: AnswerLog(path), "no answer of a server", name="answers.jsonl", line=2)
