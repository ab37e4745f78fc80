"""The client, against a real server of a tiny model in a process of its own."""

from __future__ import annotations

import gc
import threading

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from limbeck.errors import InputError
from limbeck.servers import Budget, Endpoint, Ledger, LimitReachedError, Price, Request, ServerClient
from limbeck.servers.pace import Pace
from tests.servers.tiny_server import MODEL

HELLO = [{"role": "user", "content": "the cat says"}]
PRICE = Price(1.0, 1.0)


def text(_, answer):
    return answer.text


def prompts(count, **options):
    return [Request(f"the cat says {at}", 2, 10, options) for at in range(count)]


@pytest.fixture
def client(server):
    with_client = ServerClient(Endpoint(server.url, MODEL, concurrency=4), Budget(PRICE, ledger=Ledger()))
    yield with_client
    with_client.close()


def test_it_gives_what_the_model_writes_and_enters_what_it_used(client, served_model):
    tokenizer = AutoTokenizer.from_pretrained(served_model)
    model = AutoModelForCausalLM.from_pretrained(served_model)
    ids = tokenizer("the cat says 0", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model(ids).logits[0, -1]
    favoured = [t for t in range(len(tokenizer)) if tokenizer.decode([t]).strip().casefold() in {"yes", "no"}]
    best = max(favoured, key=lambda token: logits[token])
    ((_, written),) = client.ask([Request("the cat says 0", 1, 10)], text)
    assert written == tokenizer.decode([best])
    assert client.budget.spent[:3] == (1, ids.shape[1], 1)
    chat = client.chat(HELLO, max_tokens=3, seed=1)
    assert set(chat.casefold()) <= set("yesno ")
    chat_ids = tokenizer.apply_chat_template(HELLO, add_generation_prompt=True, tokenize=False)
    used = len(tokenizer(chat_ids)["input_ids"])
    assert client.budget.spent[:3] == (2, ids.shape[1] + used, 4)


def test_answers_go_with_their_requests_and_run_at_once(client, server):
    before = len(server.requests)
    alone = dict(client.ask(prompts(1), text))
    found = dict(client.ask(prompts(12, slow=0.05), text))
    assert sorted(found) == list(range(12))
    assert found[0] == alone[0]
    asked = server.requests[before:]
    assert len(asked) == 13
    assert 2 <= max(request["under_way"] for request in asked) <= 4


def test_the_first_goes_alone_and_what_is_wrong_with_all_is_paid_once(client, server):
    before = len(server.requests)
    with pytest.raises(InputError, match="without choices"):
        list(client.ask(prompts(10, fault="choices"), text))
    assert len(server.requests) == before + 1
    assert client.budget.spent.requests == 1  # it was answered, and so paid for


def test_after_a_failure_what_is_under_way_is_still_given(client, server):
    list(client.ask(prompts(1), text))
    before = len(server.requests)
    asked = prompts(20, slow=0.1)
    asked[2] = Request("this is forbidden", 2, 10, about="number 2")
    found = []
    with pytest.raises(InputError, match=r"answered 400 to number 2: This model's maximum context length"):
        found.extend(place for place, _ in client.ask(asked, text))
    # Those that began with it came, and no more were sent.
    assert sorted(found) == [0, 1, 3]
    assert len(server.requests) == before + 4
    assert client.budget.spent.requests == 4  # the refused one costs nothing


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("json", r"gave an answer that is no JSON \(Expecting value.*start the same command again"),
        ("null", r"gave an answer without choices: .*\[None\]"),
        ("error", "gave an answer without choices: .*the model is overloaded"),
    ],
)
def test_an_answer_that_cannot_be_read_loses_no_other_that_is_paid_for(client, fault, message):
    list(client.ask(prompts(1), text))
    asked = prompts(20, slow=0.1)
    asked[2] = Request("the cat says", 2, 10, {"fault": fault})
    found = []
    with pytest.raises(InputError, match=message):
        found.extend(place for place, _ in client.ask(asked, text))
    assert {0, 1, 3} <= set(found)  # they began with it


def test_whatever_goes_wrong_with_one_answer_the_others_are_given(client):
    def read(place, answer):
        return answer.text if place != 2 else 1 / 0

    list(client.ask(prompts(1), text))
    asked = prompts(20, slow=0.1)
    asked[2] = Request("the cat says", 2, 10)
    found = []
    with pytest.raises(ZeroDivisionError):
        found.extend(place for place, _ in client.ask(asked, read))
    assert {0, 1, 3} <= set(found)  # they began with it


@pytest.mark.parametrize("fault", ["usage", "odd usage"])
def test_a_server_without_usage_is_reckoned_by_what_was_counted(client, fault):
    list(client.ask(prompts(3, fault=fault), text))
    assert client.budget.spent[:3] == (3, 30, 6)


def test_it_stops_before_the_limit_and_counts_what_earlier_processes_spent(server, tmp_path):
    def client(limit):
        budget = Budget(Price(0, 1e6), limit, Ledger(tmp_path / "l.sqlite"), "a")  # one a written token
        return ServerClient(Endpoint(server.url, MODEL, concurrency=4), budget)

    before = len(server.requests)
    for limit, more in ((11, 5), (15, 2)):
        found = []
        with pytest.raises(LimitReachedError, match=f"the limit of {limit} is reached"):
            found.extend(client(limit).ask(prompts(20), text))
        assert len(found) == more
    assert len(server.requests) == before + 7
    assert Ledger(tmp_path / "l.sqlite").spent("a").cost == 14


@pytest.mark.slow
def test_busy_and_broken_servers_are_asked_again_at_the_pace(start_server, monkeypatch):
    monkeypatch.setenv("TINY_KEY", "secret-1")
    paced = []
    take = Pace.take

    async def noted(pace, units):
        paced.append(units)
        await take(pace, units)

    monkeypatch.setattr(Pace, "take", noted)
    server = start_server("--busy", "2", "--broken", "1", "--key", "secret-1")
    budget = Budget(PRICE, ledger=Ledger())
    client = ServerClient(Endpoint(server.url, MODEL, "TINY_KEY"), budget)
    assert len(list(client.ask(prompts(2), text))) == 2
    assert [request["status"] for request in server.requests] == [429, 429, 500, 200, 200]
    assert budget.spent.requests == 2  # the refused ones cost nothing
    assert sorted(paced) == [1] * 5 + [12] * 5
    # The same server, with a wrong key and without one.
    monkeypatch.setenv("TINY_KEY", "secret-2")
    with pytest.raises(InputError, match=r"answered 401.*Incorrect API key") as caught:
        ServerClient(Endpoint(server.url, MODEL, "TINY_KEY")).chat(HELLO, max_tokens=1)
    assert "secret" not in str(caught.value)  # though the server repeated it
    assert "environment variable TINY_KEY" in str(caught.value)
    with pytest.raises(InputError, match="api_key_env"):
        ServerClient(Endpoint(server.url, MODEL)).chat(HELLO, max_tokens=1)


def test_a_key_that_is_not_set(monkeypatch):
    monkeypatch.delenv("TINY_KEY", raising=False)
    with pytest.raises(InputError, match="TINY_KEY is not set"):
        ServerClient(Endpoint("http://localhost:1/v1", MODEL, "TINY_KEY"))


def test_retries_come_to_an_end(start_server):
    server = start_server("--broken", "100")
    client = ServerClient(Endpoint(server.url, MODEL, retries=1))
    with pytest.raises(InputError, match=r"answered 500: Something went wrong \(2 times\)"):
        client.chat(HELLO, max_tokens=1)
    assert len(server.requests) == 2


def test_unknown_model_and_wrong_address(server):
    with pytest.raises(InputError, match=r"answered 404: The model `large` does not exist.*`model`"):
        ServerClient(Endpoint(server.url, "large")).chat(HELLO, max_tokens=1)
    with pytest.raises(InputError, match=r"answered 404.*`url`"):
        ServerClient(Endpoint(server.url + "/v2", MODEL)).chat(HELLO, max_tokens=1)


def test_nobody_there():
    budget = Budget(PRICE, ledger=Ledger())
    client = ServerClient(Endpoint("http://127.0.0.1:9/v1", MODEL, retries=1), budget)
    with pytest.raises(InputError, match=r"cannot be reached, tried 2 times .*start the same command again"):
        client.chat(HELLO, max_tokens=1)
    assert budget.spent.requests == 0


def test_what_is_not_answered_in_time_may_have_been_paid_for(start_server):
    budget = Budget(PRICE, ledger=Ledger())
    # A server of its own: what it answers late must not be counted in another test.
    client = ServerClient(Endpoint(start_server().url, MODEL, timeout_s=0.2, retries=1), budget)
    with pytest.raises(InputError, match=r"no answer within 0\.2 s, 2 times.*`timeout_s`"):
        list(client.ask([Request("cat", 5, 10, {"slow": 3})], text))
    assert budget.spent[:3] == (2, 20, 10)


def test_breaking_off_gives_up_what_is_under_way(client, server):
    list(client.ask(prompts(1), text))
    before = len(server.requests)
    answers = client.ask(prompts(200, slow=0.05), text)
    next(answers)
    answers.close()
    assert len(server.requests) < before + 100
    assert len(list(client.ask(prompts(2), text))) == 2  # and it can be asked again


@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_a_client_that_is_no_longer_used_leaves_no_thread(server, how):
    before = set(threading.enumerate())
    client = ServerClient(Endpoint(server.url, MODEL))
    client.chat(HELLO, max_tokens=1)
    threads = set(threading.enumerate()) - before
    assert threads
    if how == "closed":
        client.close()
    else:
        del client
        gc.collect()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
