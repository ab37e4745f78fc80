"""The embedded corpus as a data set: what is asked, what answers, and that nothing leaks."""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files

import pytest

from limbeck.data.stdlib import build_stdlib, corpus, stdlib_fingerprint
from limbeck.data.stdlib.questions import read_questions, split_modules, top_level
from limbeck.data.stdlib.source import Documented


def plain(text):
    return " ".join(text.lower().split()).rstrip(".")


@pytest.fixture(scope="module")
def questions():
    return read_questions()


def test_every_question_is_whole_and_different(questions):
    assert len({question.id for question in questions}) == len(questions)
    assert len({plain(question.text) for question in questions}) == len(questions)
    for question in questions:
        assert question.id[0] == question.split[0]
        assert question.split in {"dev", "test"}
        assert question.text.strip() == question.text != ""
        assert set(question.answers.values()) <= {0, 1, 2}
        assert 2 in question.answers.values(), question.id
        assert all(name == name.strip() != "" for name in question.answers)


def test_there_are_at_least_200_test_questions(questions):
    splits = Counter(question.split for question in questions)
    assert splits["test"] >= 200
    assert splits["dev"] >= 50


def test_no_answer_is_named_twice_in_a_question():
    def pairs(content):
        assert len({key for key, _ in content}) == len(content)
        return dict(content)

    for line in (files("limbeck.data.stdlib") / "questions.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, object_pairs_hook=pairs)


def test_this_python_has_an_answer_to_nearly_every_question(questions, entries):
    answered = [
        q for q in questions if any(grade == 2 and name in entries for name, grade in q.answers.items())
    ]
    assert len(answered) >= 0.95 * len(questions)


def test_dev_and_test_questions_are_answered_from_different_modules(questions):
    modules = split_modules(questions)
    assert not modules["dev"] & modules["test"]


def test_no_training_query_comes_from_a_module_that_answers_a_question(stdlib, questions):
    reserved = frozenset().union(*split_modules(questions).values())
    trained = {top_level(passage) for _, passage, _ in stdlib.judgements["train"]}
    assert trained
    assert not trained & reserved


def test_no_question_is_a_training_query(stdlib, questions):
    trained = {plain(query.text) for query in stdlib.queries["train"]}
    assert not trained & {plain(question.text) for question in questions}


def test_training_passages_do_not_say_their_query(stdlib):
    passages, queries = stdlib.training_passages, stdlib.queries["train"]
    said = [
        passage
        for query, passage, _ in stdlib.judgements["train"]
        if plain(queries.text(query)) in plain(passages[int(passages.rows([passage])[0])].text)
    ]
    assert said == []


def test_whole_passages_say_it(stdlib):
    queries, passages = stdlib.queries["train"], stdlib.passages
    for query, passage, _ in list(stdlib.judgements["train"])[::50]:
        text = passages[int(passages.rows([passage])[0])].text
        assert plain(queries.text(query))[:60] in plain(text)


def test_both_views_have_the_same_passages(stdlib, entries):
    assert stdlib.passages.ids() == stdlib.training_passages.ids() == list(entries)
    titles = {passage.id: passage.title for passage in stdlib.passages}
    assert titles["builtins.str.join"] == "str.join"
    assert titles["os.path.join"] == "os.path.join"


def test_judgements_name_passages_and_queries_that_exist(stdlib):
    for split in ("train", "dev", "test"):
        stdlib.judgements[split].check(stdlib.passages, stdlib.queries[split])
        assert set(stdlib.queries[split].ids()) == set(stdlib.judgements[split].query_ids)
        assert all(stdlib.judgements[split].relevant(query) for query in stdlib.queries[split].ids())


def test_no_module_dominates_training(stdlib):
    modules = Counter(top_level(query.id.removeprefix("s:")) for query in stdlib.queries["train"])
    assert max(modules.values()) == 60


def test_a_build_is_the_same_again(stdlib, tmp_path):
    again = build_stdlib(tmp_path, max_queries_per_module=60)
    assert again.passages.fingerprint == stdlib.passages.fingerprint
    assert again.training_view.fingerprint == stdlib.training_view.fingerprint
    for split in ("train", "dev", "test"):
        assert again.judgements[split].fingerprint == stdlib.judgements[split].fingerprint


def test_the_fingerprint_is_of_interpreter_questions_and_code(monkeypatch):
    before = stdlib_fingerprint()
    assert stdlib_fingerprint() == before
    monkeypatch.setattr("sys.version", "3.99")
    assert stdlib_fingerprint() != before


@pytest.mark.parametrize(
    ("docstring", "serves"),
    [
        ("Sorts a list.", True),
        ("Sorts it.", False),
        ("Deprecated. Use the other one instead.", False),
        ("Sorts a list.\n\nExample: sorts a list", False),
    ],
)
def test_which_summaries_ask_for_something(docstring, serves):
    assert corpus._asks_for_something(Documented("m.f", "def f()", docstring)) is serves


def test_a_shared_summary_has_all_its_passages_as_answers_up_to_three():
    entries = [
        Documented(f"m{i}.f", "def f()", text)
        for i, text in enumerate(["Opens a box."] * 3 + ["Closes a box."] * 4 + ["Shakes a box."])
    ]
    queries, judgements = corpus._summaries(entries, 10)
    assert {query.text for query in queries} == {"Opens a box.", "Shakes a box."}
    assert sorted(judgements) == [("s:m0.f", f"m{i}.f", 1) for i in range(3)] + [("s:m7.f", "m7.f", 1)]


def test_a_question_whose_answers_this_python_lacks_is_left_out(questions):
    first, second = questions[:2]
    queries, judgements = corpus._asked([first, second], set(first.answers))
    assert [query.id for query in queries] == [first.id]
    assert {name: grade for _, name, grade in judgements} == first.answers
