"""A run whose teacher is a server: estimate, limit, what is not asked again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from limbeck.errors import InputError
from limbeck.pipeline import RunFolder, estimate_costs, stages_of
from limbeck.pipeline.run import Run, stage_keys
from limbeck.pipeline.servers import fitted_ensemble
from limbeck.recipes import make_recipe
from limbeck.servers import Endpoint, Ledger, LimitReachedError, ServerClient
from limbeck.students.generative.pseudo_queries import PseudoQueries
from limbeck.teachers import ServerTeacher
from tests.pipeline.pairs.tiny_pairs import set_content, write_pairs
from tests.pipeline.tiny_corpus import generative_content, run_recipe, tiny_content, tiny_recipe
from tests.servers.tiny_server import MODEL


@pytest.fixture
def member(server):
    return {
        "kind": "server",
        "url": server.url,
        "model": MODEL,
        "price": {"prompt": 0, "completion": 1e6},  # one a request
        # So asked, the model with its random weights has a weight in the ensemble.
        "prompt": {"template": "{query}? {passage} Answer:", "yes": ["no"], "no": ["yes"]},
    }


@pytest.fixture
def recipe(corpus, tiny_encoder_path, member):
    def call(*, loss=None, training=None, **changes):
        sections = {
            "teacher": {"members": [{"kind": "bm25"}, member | changes]},
            "mining": {"depth": 2, "random": 1, "evaluation_depth": 3, "max_queries": 8},
        }
        sections |= {key: value for key, value in {"loss": loss, "training": training}.items() if value}
        content = tiny_content(corpus, tiny_encoder_path, **sections)
        return make_recipe(content, corpus / "recipe.yaml")

    return call


@pytest.mark.slow
def test_it_says_what_it_will_ask_and_asks_no_more(recipe, server, tmp_path):
    before = len(server.requests)
    run = Run(recipe(), RunFolder(tmp_path))
    estimate = estimate_costs(run, stages_of(run.recipe))
    assert len(server.requests) == before
    assert {path.parent.name for path in tmp_path.glob("*/.done.json")} == {"data", "mine"}
    assert [(part.stage, part.what) for part in estimate.parts] == [
        ("audit", "dev candidates"),
        ("teach", "training candidates"),
        ("teach", "easy passages"),
        ("evaluate", "test candidates"),
    ]
    record = run_recipe(recipe(), tmp_path, anyway=True, until="audit")
    assert record.done == ["teacher", "audit"]
    (told,) = [note for note in record.notes if note.startswith("teacher: tiny: ")]
    asked = len(server.requests) - before
    run_recipe(recipe(), tmp_path, anyway=True, until="teach")
    spent = Ledger(tmp_path / "spent.sqlite").spent(f"teacher: {MODEL}")
    # The test candidates are asked in the evaluation, and so are in the estimate too.
    total = int(told.removeprefix("teacher: tiny: ").split(" requests")[0])
    assert total == sum(part.cost.requests for part in estimate.parts)
    tests = estimate.parts[3].cost.requests
    assert spent.requests == len(server.requests) - before == total - tests
    assert spent.cost == spent.requests
    assert 0 < asked < spent.requests
    texts = server.answered(before)
    assert len(texts) == len(set(texts))
    # Another pace, price or place changes no result; another question does.
    first = stage_keys(recipe(), stages_of(recipe()))
    cheap = recipe(concurrency=2, price=None, url="http://elsewhere:1/v1", retries=1, api_key_env="NO_KEY")
    assert stage_keys(cheap, stages_of(cheap)) == first
    other = recipe(max_length=100)
    assert stage_keys(other, stages_of(other))["audit"] != first["audit"]


@pytest.mark.slow
def test_pairs_that_a_batch_will_hold_are_told_as_a_bound(recipe, server, tmp_path):
    wanted = recipe(loss={"kind": "d2llm", "in_batch_teacher": True}, training={"batch_size": 4, "epochs": 2})
    record = run_recipe(wanted, tmp_path, anyway=True, until="teach")
    (bound,) = [note for note in record.notes if "pairs within batches: at most " in note]
    # Eight queries, each with its positive, two mined and one drawn, which for one of them was mined as well.
    # In a batch of four each meets the lists of three others, in each of two epochs.
    most = 2 * 3 * (8 * 4 - 1)
    assert int(bound.split("at most ")[1].split(" requests")[0]) == most
    before = len(server.requests)
    run_recipe(wanted, tmp_path, anyway=True, until="distil")
    assert 0 < len(server.requests) - before <= most


def test_an_estimate_above_the_limit_stops_it_before_the_first_request(recipe, server, tmp_path):
    before = len(server.requests)
    with pytest.raises(
        LimitReachedError, match=r"would cost about \d+; 0 is spent, and the limit is 10 \(dev c"
    ):
        run_recipe(recipe(limit=10), tmp_path, anyway=True, until="teach")
    assert len(server.requests) == before
    dear = Run(recipe(limit=10), RunFolder(tmp_path))
    (told,) = estimate_costs(dear, stages_of(dear.recipe)).summary()  # an estimate tells it, and ends well
    assert "would cost about" in told
    run_recipe(recipe(limit=1000), tmp_path, anyway=True, until="audit")
    assert len(server.requests) > before


def test_a_corpus_and_pairs_are_told_together(corpus, tiny_encoder_path, member, server, tmp_path):
    pairs = write_pairs(tmp_path / "pairs")
    content = tiny_content(
        corpus,
        tiny_encoder_path,
        mining={"depth": 2, "random": 1, "evaluation_depth": 3, "max_queries": 8},
        teacher={"members": [member]},
        pairs={"tiny": set_content(pairs, teacher={"members": [member]})},
        loss={"kind": "d2llm", "in_batch_teacher": True},
        training={"batch_size": 4, "task_temperature": 2},
    )
    before = len(server.requests)
    run = Run(make_recipe(content, corpus / "recipe.yaml"), RunFolder(tmp_path / "run"))
    estimate = estimate_costs(run, stages_of(run.recipe))
    assert len(server.requests) == before
    done = {path.parent.name for path in (tmp_path / "run").glob("*/.done.json")}
    assert done == {"data", "mine", "pair-data", "pair-mine"}
    accounts = {part.stage: part.budget.account for part in estimate.parts}
    assert accounts == {
        "audit": "teacher: tiny",
        "teach": "teacher: tiny",
        "pair-audit": "pairs.tiny: tiny",
        "pair-teach": "pairs.tiny: tiny",
        "distil": "teacher: tiny",
        "evaluate": "teacher: tiny",
        "pair-evaluate": "pairs.tiny: tiny",
    }
    # Two batches of queries and twelve of pairs: 14 times sqrt(2) / (sqrt(2) + sqrt(12)) are four, and so the
    # queries come twice. In either pass each of the 31 passages of their lists meets three other queries.
    (bound,) = [part for part in estimate.parts if part.bound]
    assert (bound.stage, bound.cost.requests) == ("distil", 2 * 3 * 31)


def corpus_recipe(corpus, encoder, member, **queries):
    data = {"kind": "corpus", "file": str(corpus / "corpus.jsonl"), "queries": queries}
    content = tiny_content(corpus, encoder, data=data, teacher={"members": [member]})
    return make_recipe(content, corpus / "recipe.yaml")


def test_what_asks_about_answers_that_are_to_come_is_named(corpus, tiny_encoder_path, member, tmp_path):
    writer = {key: member[key] for key in ("kind", "url", "model", "price")}
    recipe = corpus_recipe(corpus, tiny_encoder_path, member, writer=writer, count=2)
    estimate = estimate_costs(Run(recipe, RunFolder(tmp_path)), stages_of(recipe))
    (part,) = estimate.parts
    assert part[:2] == ("invent", "questions for passages")
    assert part.budget.account == "questions: tiny"
    assert (part.cost.requests, part.cost.completion_tokens) == (2 * 60, 2 * 60 * 48)
    assert estimate.later == ["audit", "teach", "evaluate"]
    assert not (tmp_path / "invent").exists()


def test_the_candidates_of_written_questions_are_told_as_a_bound(
    corpus, tiny_encoder_path, member, server, tmp_path
):
    lines = [
        {
            "_id": f"p{at}",
            "text": f"Number {at} is the cat of the sea. Every day it took number {at} there.",
        }
        for at in range(8)
    ]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    queries = {"filter": {"teacher": member, "depth": 3}}
    recipe = corpus_recipe(tmp_path, tiny_encoder_path, {"kind": "bm25"}, **queries)
    before = len(server.requests)
    (part,) = estimate_costs(Run(recipe, RunFolder(tmp_path / "run")), stages_of(recipe)).parts
    texts = PseudoQueries.open(tmp_path / "run" / "invent" / "questions.arrow")
    written = sum(len(questions) for _, questions in texts)
    assert (part.stage, part.bound, part.cost.requests) == ("sift", True, written * (1 + 3))
    assert len(server.requests) == before


def test_what_a_generative_student_finds_and_has_written_is_told_as_a_bound(
    corpus, tiny_encoder_path, member, server, tmp_path
):
    source = {"kind": "generated", "count": 2, "filter": {"teacher": member, "depth": 3}}
    views = [{"kind": "title"}, {"kind": "pseudo-query", "sources": [source]}]
    content = generative_content(corpus, tiny_encoder_path, views=views) | {"teacher": {"members": [member]}}
    recipe = make_recipe(content, corpus / "recipe.yaml")
    before = len(server.requests)
    parts = estimate_costs(Run(recipe, RunFolder(tmp_path)), stages_of(recipe)).parts
    assert [part[:2] for part in parts] == [
        ("audit", "dev candidates"),
        ("sift-queries", "questions with their candidates"),
        ("teach", "the base retriever's candidates"),
        ("evaluate", "test candidates"),
    ]
    assert [part.bound for part in parts] == [False, True, True, False]
    # Two questions for each of sixty passages, each with its passage and three candidates.
    assert parts[1].cost.requests == 2 * 60 * (1 + 3)
    # Twenty training queries, each with its positive and six candidates.
    assert parts[2].cost.requests == 20 * (1 + 6)
    assert {path.parent.name for path in tmp_path.glob("*/.done.json")} == {"data", "mine"}
    assert len(server.requests) == before


def test_a_recipe_without_servers_runs_nothing(corpus, tiny_encoder_path, tmp_path):
    recipe = tiny_recipe(corpus, tiny_encoder_path)
    assert not estimate_costs(Run(recipe, RunFolder(tmp_path)), stages_of(recipe)).parts
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limit": 3, "price": None}, "needs a price"),
        ({"url": "localhost:8000"}, "no address such as"),
        ({"url": "http://me:secret@host/v1"}, "holds no password"),
        (
            {"prompt": {"template": "{query}", "yes": ["yes"], "no": ["no"]}},
            r"placeholder \{passage\} 0 times",
        ),
        ({"task": "symmetric"}, "chooses a built-in question"),
        ({"top_logprobs": 21}, "20"),
        ({"url": "http://host:99999/v1"}, r"teacher\.members\.1\.url: port out of range"),
        # Each of these would cost more than is entered before it is sent.
        ({"options": {"n": 20}}, r"options\.n: this is set for each request"),
        ({"options": {"seed": 1, "max_tokens": 200}}, r"options\.max_tokens: this is set for each request"),
    ],
)
def test_contradictions_are_refused_when_the_recipe_is_read(recipe, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        recipe(**changes)
    assert "secret" not in str(caught.value)
    assert not str(caught.value).endswith("..")


def test_a_key_that_is_not_set_is_found_before_any_stage(recipe, server, tmp_path, monkeypatch):
    monkeypatch.delenv("TINY_KEY", raising=False)
    with pytest.raises(InputError, match="TINY_KEY is not set"):
        run_recipe(recipe(api_key_env="TINY_KEY"), tmp_path, until="teach")
    assert not (tmp_path / "mine").exists()


class Fixed:
    """A teacher of one opinion."""

    name, version, prompt = "fixed", "1", ""

    def score(self, pairs):
        return np.full(len(pairs), 3.0)


def test_a_server_without_weight_is_not_paid():
    client = ServerClient(Endpoint("http://127.0.0.1:9/v1", MODEL))  # nobody is there
    members = [ServerTeacher(client), Fixed(), Fixed()]
    numbers = {"weights": [0, 1, 0], "means": [5, 1, 0], "stds": [1, 4, 1], "slope": 2, "bias": 0.5}
    teacher = fitted_ensemble(members, numbers)
    assert teacher.members == tuple(members[1:])
    assert teacher.score([("cat", "dog")]).tolist() == [2 * (3 - 1) / 4 + 0.5]
    kept = fitted_ensemble(members, numbers | {"weights": [0.1, 1, 0]})
    assert kept.members == tuple(members)
    client.close()
