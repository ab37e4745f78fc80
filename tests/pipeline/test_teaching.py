from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbeck.data import Judgements, RankedList, Rankings
from limbeck.data.formats.qrels import read_qrels
from limbeck.data.formats.trec import write_run
from limbeck.errors import InputError
from limbeck.pipeline import stages_of
from limbeck.pipeline.run import stage_keys
from limbeck.pipeline.teaching import _without_likely_positives
from limbeck.teachers import ScoreCache, TeacherNotBetterError
from tests.pipeline.tiny_corpus import SPLITS, run_recipe, tiny_recipe, write_corpus
from tests.tiny_models import tiny_llm


def write_runs(folder: Path, corpus: Path, score: Callable[[str, int], float]) -> dict[str, str]:
    """A run of every split: for each query its passage and nine others, the score by (place, relevance)."""
    folder.mkdir()
    paths = {}
    for split in SPLITS:
        judgements = read_qrels(corpus / "qrels" / f"{split}.tsv")
        lists = []
        for at, query in enumerate(judgements.query_ids):
            passages = judgements.relevant(query) + [f"p{(7 * at + step) % 60}" for step in range(1, 10)]
            passages = list(dict.fromkeys(passages))
            scores = [score(p, int(p in judgements.relevant(query))) for p in passages]
            lists.append(RankedList(query, passages, np.array(scores)))
        paths[split] = str(folder / f"{split}.trec")
        write_run(Rankings.from_lists(lists, "other"), folder / f"{split}.trec", "other")
    return paths


def by_relevance(sign: float) -> Callable[[str, int], float]:
    return lambda passage, relevant: sign * (10.0 * relevant + int(passage[1:]) / 100)


def run_teacher(paths: dict[str, str]) -> dict[str, Any]:
    return {
        "mining": {"random": 0, "depth": 6, "evaluation_depth": 20, "runs": paths},
        "teacher": {"members": [{"kind": "run", **paths}]},
    }


def test_a_run_file_teaches(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    paths = write_runs(tmp_path / "runs", corpus, by_relevance(1))
    recipe = tiny_recipe(corpus, tiny_encoder_path, **run_teacher(paths))
    run_recipe(recipe, tmp_path / "run")
    systems = json.loads((tmp_path / "run" / "metrics.json").read_text())["systems"]
    assert systems["teacher"]["MRR@10"]["value"] == 1
    taught = Rankings.open(tmp_path / "run" / "teach" / "candidates.arrow")
    judgements = read_qrels(corpus / "qrels" / "train.tsv")
    for ranked in taught:
        assert ranked.passage_ids[0] in judgements.relevant(ranked.query_id)
        assert len(ranked) <= 1 + 6


def test_a_positive_that_the_run_lacks_is_left_out(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    paths = write_runs(tmp_path / "runs", corpus, by_relevance(1))
    lines = Path(paths["train"]).read_text().splitlines()
    # The passage that `train0` is judged to want stands first.
    Path(paths["train"]).write_text("\n".join(lines[1:]) + "\n")
    run_recipe(tiny_recipe(corpus, tiny_encoder_path, **run_teacher(paths)), tmp_path / "run", until="teach")
    taught = Rankings.open(tmp_path / "run" / "teach" / "candidates.arrow")
    wanted = read_qrels(corpus / "qrels" / "train.tsv").relevant("train0")
    assert not set(wanted) & set(taught.list_for("train0").passage_ids)
    assert set(taught.list_for("train1").passage_ids) & set(
        read_qrels(corpus / "qrels" / "train.tsv").relevant("train1")
    )


def test_a_run_that_names_unknown_passages_is_an_error(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    paths = write_runs(tmp_path / "runs", corpus, by_relevance(1))
    with Path(paths["dev"]).open("a") as stream:
        stream.write("dev14 Q0 nowhere 99 -5.0 other\n")
    with pytest.raises(InputError, match=r"dev\.trec:\d+: .*nowhere"):
        run_recipe(
            tiny_recipe(corpus, tiny_encoder_path, **run_teacher(paths)), tmp_path / "run", until="mine"
        )


def test_mined_runs_take_the_place_of_the_miners(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    paths = write_runs(tmp_path / "runs", corpus, by_relevance(1))
    mining = {
        "miners": ["bm25"],
        "random": 1,
        "depth": 3,
        "evaluation_depth": 5,
        "runs": {"dev": paths["dev"]},
    }
    run_recipe(tiny_recipe(corpus, tiny_encoder_path, mining=mining), tmp_path / "run", until="mine")
    mine = tmp_path / "run" / "mine"
    from_run, mined = Rankings.open(mine / "dev.arrow"), Rankings.open(mine / "test.arrow")
    assert from_run.source == "other"
    assert mined.source == "bm25"
    assert not (mine / "dense-test.arrow").exists()
    assert all(len(ranked) <= 5 for ranked in from_run)
    train = read_qrels(corpus / "qrels" / "train.tsv")
    for ranked in Rankings.open(mine / "train.arrow"):
        relevant = train.relevant(ranked.query_id)
        assert ranked.passage_ids[: len(relevant)] == relevant
        assert len(ranked) <= len(relevant) + 3


def test_training_queries_are_limited(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    mining = {"depth": 3, "random": 1, "evaluation_depth": 10, "max_queries": 7}
    run_recipe(tiny_recipe(corpus, tiny_encoder_path, mining=mining), tmp_path / "one", until="mine")
    run_recipe(tiny_recipe(corpus, tiny_encoder_path, mining=mining), tmp_path / "two", until="mine")
    one, two = (Rankings.open(tmp_path / name / "mine" / "train.arrow") for name in ("one", "two"))
    assert len(one.query_ids) == 7
    assert one.to_dict() == two.to_dict()


@pytest.fixture
def bad_teacher(tmp_path: Path, corpus: Path, tiny_encoder_path: Path) -> Any:
    paths = write_runs(tmp_path / "runs", corpus, by_relevance(-1))
    return tiny_recipe(corpus, tiny_encoder_path, **run_teacher(paths))


def test_a_teacher_that_is_no_better_stops_the_run(bad_teacher: Any, tmp_path: Path):
    folder = tmp_path / "run"
    with pytest.raises(TeacherNotBetterError, match=r"What to try: .*--anyway"):
        run_recipe(bad_teacher, folder)
    # The audit stays, to be read; the run stops again where it stopped, and at once.
    assert json.loads((folder / "audit" / "audit.json").read_text())["verdict"] == "not better"
    assert not (folder / "teach").exists()
    with pytest.raises(TeacherNotBetterError):
        run_recipe(bad_teacher, folder)


def test_who_wants_goes_on_with_such_a_teacher(bad_teacher: Any, tmp_path: Path):
    folder = tmp_path / "run"
    with pytest.raises(TeacherNotBetterError):
        run_recipe(bad_teacher, folder)
    record = run_recipe(bad_teacher, folder, anyway=True)
    assert record.done == ["teach", "distil", "baseline", "index", "evaluate"]
    assert (folder / "metrics.json").is_file()


def test_likely_positives_are_told_by_their_probability():
    # Sigmoids: 0.88, 0.84, 0.5, 0.0067. Nine tenths of the positive's are 0.79.
    scored = Rankings.from_dict(
        {"q": {"positive": 2.0, "twin": 1.7, "other": 0.0, "far": -5.0}, "r": {"x": -1.0, "y": -2.0}},
        "ensemble",
    )
    kept = _without_likely_positives(scored, Judgements([("q", "positive", 1)]), 0.9)
    assert kept.to_dict() == {"q": {"positive": 2.0, "other": 0.0, "far": -5.0}, "r": {"x": -1.0, "y": -2.0}}


def test_the_share_takes_candidates_away(finished: Path, copy: Path, corpus: Path, tiny_encoder_path: Path):
    mining = {"depth": 6, "random": 2, "evaluation_depth": 20}
    before = Rankings.open(finished / "teach" / "candidates.arrow")
    strict = tiny_recipe(corpus, tiny_encoder_path, mining=mining | {"false_negative_share": 0.2})
    with ScoreCache(copy / "scores.sqlite") as cache:
        known = len(cache)
    assert run_recipe(strict, copy, until="teach").done == ["teach"]
    after = Rankings.open(copy / "teach" / "candidates.arrow")
    assert 0 < len(after) < len(before)
    judgements = read_qrels(corpus / "qrels" / "train.tsv")
    for ranked in after:
        assert set(judgements.relevant(ranked.query_id)) <= set(ranked.passage_ids)
        assert set(ranked.passage_ids) <= set(before.list_for(ranked.query_id).passage_ids)
    with ScoreCache(copy / "scores.sqlite") as cache:
        assert len(cache) == known


def llm_teacher(path: Path, **changes: Any) -> dict[str, Any]:
    return {"teacher": {"members": [{"kind": "llm", "model": str(path), "max_length": 200, **changes}]}}


def test_an_llm_is_fine_tuned_and_teaches(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    path = tiny_llm(tmp_path / "llm")
    tuning = {"steps": 2, "batch_size": 4, "checkpoint_every": 1}
    recipe = tiny_recipe(corpus, tiny_encoder_path, **llm_teacher(path, fine_tuning=tuning))
    run_recipe(recipe, tmp_path / "run", until="teach", anyway=True)
    assert (tmp_path / "run" / "teacher" / "llm-0" / "model" / "adapter_config.json").is_file()
    taught = Rankings.open(tmp_path / "run" / "teach" / "candidates.arrow")
    judged = read_qrels(corpus / "qrels" / "train.tsv")
    assert taught.query_ids == judged.query_ids
    assert len(set(taught.scores.tolist())) > 40


def test_an_llm_that_cannot_be_asked_is_found_before_any_work(
    tmp_path: Path, corpus: Path, tiny_encoder_path: Path
):
    path = tiny_llm(tmp_path / "llm")
    prompt = {"template": "{query} {passage}?", "yes": ["!a"], "no": ["!b"]}
    recipe = tiny_recipe(corpus, tiny_encoder_path, **llm_teacher(path, prompt=prompt))
    with pytest.raises(InputError, match=r"teacher\.members\.0: '!a' and '!b' begin with the same token '!'"):
        run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "data").exists()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"max_length": 600}, "max_length is 600, but .* reads 512 tokens"),
        ({"max_length": 32}, "the prompt without query and passage takes"),
        ({"load": {"dtype": "float99"}}, "no language model can be loaded"),
    ],
)
def test_an_llm_that_does_not_fit_is_found_before_any_work(
    tmp_path: Path, corpus: Path, tiny_encoder_path: Path, changes: dict[str, Any], problem: str
):
    recipe = tiny_recipe(corpus, tiny_encoder_path, **llm_teacher(tiny_llm(tmp_path / "llm"), **changes))
    with pytest.raises(InputError, match=rf"teacher\.members\.0: {problem}"):
        run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "data").exists()


def test_an_encoder_is_no_llm(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    recipe = tiny_recipe(corpus, tiny_encoder_path, **llm_teacher(tiny_encoder_path))
    with pytest.raises(InputError, match=r"teacher\.members\.0: .*language model"):
        run_recipe(recipe, tmp_path / "run")


def test_shortened_passages_are_counted_in_a_note(tmp_path: Path, tiny_encoder_path: Path):
    corpus = write_corpus(tmp_path / "corpus")
    path = corpus / "corpus.jsonl"
    passages = [json.loads(line) for line in path.read_text().splitlines()]
    for passage in passages[:3]:
        passage["text"] += " and a fish" * 40
    path.write_text("".join(f"{json.dumps(passage)}\n" for passage in passages))
    prompt = {"template": "{query}\n{passage}\nAnswer:", "yes": ["yes"], "no": ["no"]}
    teacher = llm_teacher(tiny_llm(tmp_path / "llm"), prompt=prompt, max_length=100)
    recipe = tiny_recipe(corpus, tiny_encoder_path, **teacher)
    record = run_recipe(recipe, tmp_path / "run", until="teach", anyway=True)
    for split, title in (("dev", "dev candidates: llm"), ("train", "training candidates")):
        pairs = Rankings.open(tmp_path / "run" / "mine" / f"{split}.arrow").pairs()
        count = len({pair for pair in pairs if pair[1] in {"p0", "p1", "p2"}})
        assert count > 0
        assert f"{title}: passages shortened to fit the LLM's max_length: {count}" in record.notes
    again = run_recipe(
        tiny_recipe(corpus, tiny_encoder_path, **teacher, seed=1), tmp_path / "run", until="audit"
    )
    assert not any("dev candidates: llm: passages shortened" in note for note in again.notes)


def test_prompts_that_a_recipe_refuses(tmp_path: Path, corpus: Path, tiny_encoder_path: Path):
    prompt = {"template": "{query}?", "yes": ["yes"], "no": ["no"]}
    with pytest.raises(InputError, match=r"teacher\.members\.0.*prompt.*\{passage\} 0 times"):
        tiny_recipe(corpus, tiny_encoder_path, **llm_teacher(tmp_path, prompt=prompt))
    prompt["template"] = "{query} {passage}?"
    with pytest.raises(InputError, match="`language` chooses a built-in question"):
        tiny_recipe(corpus, tiny_encoder_path, **llm_teacher(tmp_path, prompt=prompt, language="zh"))


def test_the_files_of_a_base_are_part_of_the_teachers_key(
    corpus: Path, tiny_encoder_path: Path, tmp_path: Path
):
    base = tmp_path / "base"
    base.mkdir()
    (base / "weights").write_text("one")
    member = {"kind": "cross-encoder", "fine_tuning": {"base": str(base)}}

    def key() -> str:
        recipe = tiny_recipe(corpus, tiny_encoder_path, teacher={"members": [member]})
        return stage_keys(recipe, stages_of(recipe))["teacher"]

    before = key()
    assert key() == before
    (base / "weights").write_text("other")
    assert key() != before
