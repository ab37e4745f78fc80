"""A server as a teacher: a real one of a tiny model, in a process of its own."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from limbeck.errors import InputError
from limbeck.servers import Budget, Endpoint, Ledger, LimitReachedError, Price, ServerClient, TokenCounter
from limbeck.servers.log_probabilities import first_token_log_probabilities
from limbeck.teachers import ScoreCache, ServerTeacher, StreamingTeacher, score_pairs
from limbeck.teachers.llm import PROMPTS, Prompt
from tests.servers.tiny_server import MODEL

PROMPT = Prompt("Which? {query}\nPassage: {passage}\nAnswer:", ("yes",), ("no",))
QUERIES = ["where is paris", "cat", "a king and a queen"]
PASSAGES = ["paris is the capital of france", "cat", "", "blue fish in the sea"]
PAIRS = [(query, passage) for query in QUERIES for passage in PASSAGES]


@pytest.fixture
def client(server):
    with_client = ServerClient(Endpoint(server.url, MODEL))
    yield with_client
    with_client.close()


def in_process(folder, prompts):
    """Yes against no by the model itself, from all of its logits."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    spellings = [tokenizer.decode([token]).strip().casefold() for token in range(len(tokenizer))]
    scores = []
    for prompt in prompts:
        with torch.no_grad():
            logits = model(torch.tensor([tokenizer(prompt)["input_ids"]])).logits[0, -1].double().numpy()
        yes, no = (
            math.log(sum(math.exp(logits[at]) for at, text in enumerate(spellings) if text == word))
            for word in ("yes", "no")
        )
        scores.append(yes - no)
    return np.array(scores)


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_its_scores_are_those_of_the_model_in_process(client, served_model, api):
    teacher = ServerTeacher(client, PROMPT, api=api)
    assert isinstance(teacher, StreamingTeacher)
    prompts = [PROMPT.template.replace("{query}", q).replace("{passage}", p) for q, p in PAIRS]
    if api == "chat":
        tokenizer = AutoTokenizer.from_pretrained(served_model)
        prompts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
            )
            for prompt in prompts
        ]
    expected = in_process(served_model, prompts)
    assert np.ptp(expected) > 0.1
    assert teacher.score(PAIRS) == pytest.approx(expected, abs=1e-4)
    assert teacher.score([]).shape == (0,)


def test_completions_in_the_form_of_llama_cpp(client):
    plain = ServerTeacher(client, PROMPT, api="completions").score(PAIRS[:2])
    other = ServerTeacher(client, PROMPT, api="completions", options={"fault": "llama.cpp"})
    assert other.score(PAIRS[:2]) == pytest.approx(plain, abs=1e-5)


@pytest.mark.parametrize(
    ("tokens", "words", "expected"),
    [
        # Spellings add up: p(yes) = 0.5 + 0.25, p(no) = 0.125.
        ({" Yes": 0.5, "yes": 0.25, "NO": 0.125, "maybe": 0.0625}, ("yes", "no"), math.log(6)),
        # A side that is not among them is at most as likely as the last of them.
        ({"yes": 0.5, "maybe": 0.25, "well": 0.125}, ("yes", "no"), math.log(4)),
        ({"maybe": 0.5, "no": 0.25}, ("yes", "no"), 0.0),
        # "不" begins 不能 and nothing that says yes.
        ({"能": 0.5, "不": 0.25, "的": 0.1}, ("能", "不能"), math.log(2)),
        # What begins a word counts only where the word is not there, and never for both.
        ({"ye": 0.4, "yes": 0.5, "no": 0.05, "n": 0.01}, ("yes", "no"), math.log(10)),
        ({"n": 0.5, "ne": 0.25, "never": 0.125, "not": 0.0625}, ("never", "not"), math.log(2)),
        ({"Ġyes": 0.4, "▁no": 0.2}, ("yes", "no"), math.log(2)),
        # Where nothing says no, no is at most as likely as what is left of 1: sure answers are no ties.
        ({"yes": 0.75}, ("yes", "no"), math.log(3)),
        ({"no": 0.75, "No": 0.2}, ("yes", "no"), -math.log(19)),
        ({"yes": 0.5, "Yes": 0.125}, ("yes", "no"), math.log(5)),
        ({"yes": 1.0}, ("yes", "no"), 24 * math.log(2)),
    ],
)
def test_what_says_yes_and_what_no(client, tokens, words, expected):
    prompt = Prompt("{query} {passage}?", (words[0],), (words[1],))
    choice = {"logprobs": {"top_logprobs": [{token: math.log(p) for token, p in tokens.items()}]}}
    read = first_token_log_probabilities(choice)
    assert ServerTeacher(client, prompt).score_of(read, "q", "p") == pytest.approx(expected)


def test_values_that_are_no_numbers_are_left_out():
    top = [
        {"token": "a", "logprob": -1.5},
        {"token": "b", "logprob": None},
        {"token": "c", "logprob": -9999.0},
    ]
    chat = {"logprobs": {"content": [{"top_logprobs": [*top, {"token": "d", "logprob": float("nan")}]}]}}
    assert first_token_log_probabilities(chat) == [("a", -1.5)]
    assert first_token_log_probabilities({"logprobs": None}) is None
    assert first_token_log_probabilities({"logprobs": {"content": []}}) is None
    assert first_token_log_probabilities({"logprobs": {"top_logprobs": [{"a": None}]}}) == []


@pytest.mark.parametrize(
    "given",
    [
        [],
        "none",
        {"content": "yes"},
        {"content": [None]},
        {"content": [{"token": "yes", "logprob": -0.1}]},  # the token that it chose, and no other
        {"content": [{"token": "yes", "logprob": -0.1, "top_logprobs": []}]},
        {"content": [{"top_logprobs": {"yes": -0.1}}]},
        {"top_logprobs": [["yes"]]},
        {"top_logprobs": [{}]},
    ],
)
def test_log_probabilities_of_another_form_are_none(given):
    assert first_token_log_probabilities({"logprobs": given}) is None


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("logprobs", r"answered ' ?\w+' without log-probabilities to the query 'where is paris' and the pas"),
        ("values", "gave no finite log-probability to the query 'where is paris'"),
    ],
)
def test_a_server_that_cannot_teach_is_asked_once(client, server, fault, message):
    before = len(server.requests)
    with pytest.raises(InputError, match=message):
        ServerTeacher(client, PROMPT, options={"fault": fault}).score(PAIRS)
    assert len(server.requests) == before + 1


def test_an_answer_that_is_neither_yes_nor_no(client, server):
    before = len(server.requests)
    prompt = Prompt("{query} {passage} Reply:", ("是",), ("不是",))
    with pytest.raises(
        InputError, match=r"neither yes nor no to the query 'cat' and the passage 'dog'.*'.*no"
    ):
        ServerTeacher(client, prompt).score([("cat", "dog"), ("cat", "fish")])
    assert len(server.requests) == before + 1


def test_the_passage_is_shortened_and_never_the_question(client, server, served_model):
    counter = TokenCounter(str(served_model))
    teacher = ServerTeacher(client, PROMPT, api="completions", max_length=60, counter=counter)
    before = len(server.requests)
    teacher.score([("where is paris", "cat dog " * 60)])
    (text,) = server.answered(before)
    assert text.startswith("Which? where is paris\nPassage: cat dog cat")
    assert text.endswith("\nAnswer:")
    assert 55 <= counter.count(text) <= 61  # words at the seams may merge
    assert teacher.shortened == 1
    assert len(server.requests) == before + 1
    with pytest.raises(InputError, match=r"'cat cat.*leaves room for \d+ tokens of a passage.*max_length to"):
        teacher.score([("cat " * 60, "dog")])
    assert len(server.requests) == before + 1


def test_a_prompt_that_is_too_long_names_its_pair(client):
    with pytest.raises(InputError, match=r"400 to the query 'cat' and the passage 'forbidden'.*`max_length`"):
        ServerTeacher(client, PROMPT).score([("cat", "forbidden")])


def test_the_version_says_what_scores_depend_on(client):
    def version(**changes):
        return ServerTeacher(client, PROMPT, **changes).version

    versions = {
        version(),
        version(api="completions"),
        version(max_length=100),
        version(top=5),
        version(options={"a": 1}),
    }
    assert len(versions) == 5
    elsewhere = ServerClient(Endpoint("http://elsewhere/v1", MODEL, concurrency=2))
    assert ServerTeacher(elsewhere, PROMPT).version == version()
    assert ServerTeacher(client).prompt != ServerTeacher(client, PROMPTS["symmetric", "en"]).prompt


def test_the_estimate_is_what_the_server_counts(client, served_model):
    counter = TokenCounter(str(served_model))
    teacher = ServerTeacher(client, PROMPT, api="completions", counter=counter)
    cost = teacher.cost(PAIRS)
    teacher.score(PAIRS)
    spent = client.budget.spent
    assert (cost.requests, cost.completion_tokens) == (spent.requests, spent.completion_tokens) == (12, 12)
    # Here tokens merge where the parts of the prompt meet, which the estimate does not see.
    assert spent.prompt_tokens <= cost.prompt_tokens <= 1.25 * spent.prompt_tokens


def test_what_was_answered_before_a_failure_is_kept(server, tmp_path):
    budget = Budget(Price(0, 1e6), 5, Ledger(tmp_path / "ledger.sqlite"))  # one a request
    client = ServerClient(Endpoint(server.url, MODEL, concurrency=3), budget)
    before = len(server.requests)
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        with pytest.raises(LimitReachedError, match="what was answered is not asked again"):
            score_pairs(ServerTeacher(client, PROMPT), PAIRS, cache)
        assert len(cache) == 5
        budget.limit = 12
        assert np.isfinite(score_pairs(ServerTeacher(client, PROMPT), PAIRS, cache)).all()
    assert len(set(server.answered(before))) == len(server.requests) - before == 12


@pytest.mark.slow
def test_a_server_that_dies_half_way(start_server, tmp_path):
    dying = start_server("--die-after", "6")
    port = int(dying.url.split(":")[2].split("/")[0])
    endpoint = Endpoint(dying.url, MODEL, concurrency=3, retries=0)
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        with pytest.raises(InputError, match=r"cannot be reached.*start the same command again"):
            score_pairs(ServerTeacher(ServerClient(endpoint), PROMPT), PAIRS, cache)
        # Answers of other requests under way may have been lost with the process.
        kept = len(cache)
        assert 6 <= len(dying.answered()) < 12
        assert len(dying.answered()) - 2 <= kept <= len(dying.answered())
        alive = start_server(port=port)
        score_pairs(ServerTeacher(ServerClient(endpoint), PROMPT), PAIRS, cache)
    assert len(alive.requests) == len(alive.answered()) == 12 - kept


CHILD = """
import sys
from limbeck.servers import Budget, Endpoint, Ledger, Price, ServerClient
from limbeck.teachers import ScoreCache, ServerTeacher, score_pairs
from limbeck.teachers.llm import Prompt
PROMPT = Prompt("Which? {query}\\nPassage: {passage}\\nAnswer:", ("yes",), ("no",))
url, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
budget = Budget(Price(1, 1), ledger=Ledger(f"{folder}/ledger.sqlite"))
client = ServerClient(Endpoint(url, "tiny", concurrency=2), budget)
teacher = ServerTeacher(client, PROMPT, options={"slow": 0.02})
with ScoreCache(f"{folder}/scores.sqlite") as cache:
    score_pairs(teacher, [("cat", f"dog {at}") for at in range(count)], cache)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_asks_for_the_rest(server, tmp_path, how):
    command = [sys.executable, "-c", CHILD, server.url, str(tmp_path), "40"]
    before = len(server.requests)
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": "src:."})
    while len(server.requests) < before + 15:
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(how)
    child.wait(30)
    assert child.returncode != 0
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        kept = len(cache)
    assert kept >= 10
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": "src:."})
    asked = server.answered(before)
    assert len(set(asked)) == 40
    # What was under way is asked again, and nothing that had come.
    assert len(asked) - 40 <= 2 + 1
    # All of it is on the bill, also what was never received.
    assert Ledger(tmp_path / "ledger.sqlite").spent("").requests >= len(asked)
