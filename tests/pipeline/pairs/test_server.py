"""Servers as teachers of pairs: what is asked, what it costs, what is not asked again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbeck.errors import InputError
from limbeck.pipeline import Run, RunFolder, estimate_costs, stages_of
from limbeck.pipeline.pairs.members import open_member
from limbeck.pipeline.run import stage_keys
from limbeck.recipes import Recipe
from limbeck.servers import Ledger, LimitReachedError
from limbeck.teachers.llm import PROMPTS
from tests.pipeline.pairs.tiny_pairs import pair_recipe, set_content
from tests.pipeline.tiny_corpus import run_recipe
from tests.servers.tiny_server import MODEL, TinyServer

#: So asked, the model with its random weights goes a little with the labels: the ensemble gives it a weight.
PROMPT = {"template": "{query}? {passage} Answer:", "yes": ["no"], "no": ["yes"]}
ACCOUNT = f"pairs.tiny: {MODEL}"


def server_recipe(pairs: Path, encoder: Path, url: str, /, set_changes: Any = None, **changes: Any) -> Recipe:
    """Of a set whose teacher is a server, paid one a request, and the backbone, which knows more."""
    sections = {key: changes.pop(key) for key in ("pair_loss",) if key in changes}
    price = {"prompt": 0, "completion": 1e6}
    member = {"kind": "server", "url": url, "model": MODEL, "prompt": PROMPT, "price": price} | changes
    one = set_content(pairs, teacher={"members": [member, {"kind": "bi-encoder"}]}, **(set_changes or {}))
    return pair_recipe(pairs, encoder, pairs={"tiny": one}, **sections)


def texts(folder: Path, split: str) -> list[tuple[str, str]]:
    lines = (folder / f"{split}.tsv").read_text().splitlines()[1:]
    return [(line.split("\t")[0], line.split("\t")[1]) for line in lines]


@pytest.mark.slow
def test_a_run_asks_for_what_it_said_and_for_nothing_to_time_it(
    pairs: Path, tiny_encoder_path: Path, server: TinyServer, tmp_path: Path
):
    recipe = server_recipe(pairs, tiny_encoder_path, server.url, {"swap": True}, limit=2000)
    before = len(server.requests)
    record = run_recipe(recipe, tmp_path / "run", anyway=True)
    (told,) = [note for note in record.notes if note.startswith(ACCOUNT)]
    asked = server.answered(before)
    assert len(asked) == len(set(asked))
    total = int(told.removeprefix(f"{ACCOUNT}: ").split(" requests")[0])
    assert total == len(asked) == Ledger(tmp_path / "run" / "spent.sqlite").spent(ACCOUNT).requests
    assert f"at most about {total}; 0 of 2000 is spent (tiny: dev pairs 24, tiny: training pairs " in told
    assert told.endswith(", tiny: test pairs 24)")
    # Both orders of each labelled pair, and the neighbours and drawn texts of either first text.
    for first, second in texts(pairs, "train"):
        assert f"{first}? {second} Answer:" in asked
        assert f"{second}? {first} Answer:" in asked

    numbers = json.loads((tmp_path / "run" / "pair-audit" / "tiny.json").read_text())
    assert min(numbers["weights"]) > 0

    # The teacher has scores and figures, and no time.
    folder = tmp_path / "run" / "pairs"
    timing = json.loads((folder / "timing.json").read_text())["tiny"]
    assert timing["teacher"] == {"texts": None, "vectors": None}
    assert timing["student-interaction"]["texts"]["p50"] > 0
    systems = json.loads((folder / "metrics.json").read_text())["systems"]
    assert "Spearman" in systems["teacher"]
    assert "latency_ms" not in systems["teacher"]
    assert "| teacher | not measured | – | – | – |" in (folder / "report.md").read_text()

    again = run_recipe(recipe, tmp_path / "run")
    assert not again.done
    assert not [note for note in again.notes if note.startswith(ACCOUNT)]
    assert len(server.answered(before)) == total
    left = estimate_costs(Run(recipe, RunFolder(tmp_path / "run")), stages_of(recipe))
    assert (left.parts, left.later) == ([], [])


@pytest.mark.slow
def test_a_server_that_dies_is_asked_for_the_rest(
    pairs: Path, tiny_encoder_path: Path, start_server: Any, tmp_path: Path
):
    dying = start_server("--die-after", "60")  # in the training pairs: 24 dev pairs come before them
    port = int(dying.url.split(":")[2].split("/")[0])
    recipe = server_recipe(pairs, tiny_encoder_path, dying.url, concurrency=3, retries=0)
    with pytest.raises(InputError, match=r"cannot be reached.*start the same command again"):
        run_recipe(recipe, tmp_path / "run", anyway=True, until="pair-teach")
    assert (tmp_path / "run" / "pair-audit").is_dir()
    assert not (tmp_path / "run" / "pair-teach").exists()
    came = set(dying.answered())
    alive = start_server(port=port)
    record = run_recipe(recipe, tmp_path / "run", anyway=True, until="pair-teach")
    assert record.done == ["pair-teach"]
    asked = alive.answered()
    assert len(asked) == len(set(asked))
    # Answers of the others under way may have been lost with the process.
    assert len(came & set(asked)) <= 2
    (told,) = [note for note in record.notes if note.startswith(ACCOUNT)]
    left = int(told.split("training pairs ")[1].split(",")[0])
    assert left == len(asked)
    assert "dev pairs" not in told

    # The scores are those of a run that was not disturbed.
    whole = server_recipe(pairs, tiny_encoder_path, alive.url)
    run_recipe(whole, tmp_path / "whole", anyway=True, until="pair-teach")
    found, expected = (np.load(tmp_path / name / "pair-teach" / "tiny.npy") for name in ("run", "whole"))
    assert np.allclose(found, expected, atol=1e-5)


def test_an_estimate_above_the_limit_stops_it_before_the_members_are_made(
    pairs: Path, tiny_encoder_path: Path, server: TinyServer, tmp_path: Path
):
    before = len(server.requests)
    recipe = server_recipe(pairs, tiny_encoder_path, server.url, limit=100)
    problem = (
        r"pairs\.tiny: tiny: \d+ requests .* would cost about \d+; 0 is spent, and the limit is 100 \(tiny: d"
    )
    with pytest.raises(LimitReachedError, match=problem):
        run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "pair-teacher").exists()
    assert len(server.requests) == before


@pytest.mark.slow
def test_pairs_that_a_batch_will_hold_are_told_as_a_bound_and_asked_once(
    pairs: Path, tiny_encoder_path: Path, server: TinyServer, tmp_path: Path
):
    recipe = server_recipe(
        pairs, tiny_encoder_path, server.url, {"random": 0}, pair_loss={"in_batch_teacher": True}
    )
    record = run_recipe(recipe, tmp_path, anyway=True, until="pair-teach")
    (bound,) = [note for note in record.notes if "tiny: pairs within batches: at most " in note]
    most = int(bound.split("at most ")[1].split(" requests")[0].replace(",", ""))
    training = recipe.training
    # 48 lists of a labelled text and two neighbours; in its batch each meets all other lists, in each epoch.
    assert most == training.epochs * (training.batch_size - 1) * 48 * 3
    before = len(server.requests)
    record = run_recipe(recipe, tmp_path, anyway=True, until="distil")
    assert any("each text of tiny with the texts of its batch" in note for note in record.notes)
    asked = server.answered(before)
    assert 0 < len(asked) <= most
    assert len(asked) == len(set(asked))
    again = recipe.model_copy(update={"training": training.model_copy(update={"learning_rate": 1e-4})})
    run_recipe(again, tmp_path, anyway=True, until="distil")
    assert server.answered(before) == asked
    # The student alone is to learn anew: whether the server can be asked is looked at all the same.
    keyless = server_recipe(
        pairs,
        tiny_encoder_path,
        server.url,
        {"random": 0},
        pair_loss={"in_batch_teacher": True},
        api_key_env="KEY_THAT_IS_NOT_SET",
    )
    with pytest.raises(InputError, match=r"^pairs\.tiny\.teacher\.members\.0: .*KEY_THAT_IS_NOT_SET"):
        run_recipe(keyless, tmp_path, anyway=True, until="distil")
    assert server.answered(before) == asked


@pytest.mark.parametrize("task", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_question_is_that_of_the_task_and_the_language(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path, task: str, language: str
):
    changes = {"prompt": None, "language": language}
    recipe = server_recipe(pairs, tiny_encoder_path, "http://localhost:9/v1", {"task": task}, **changes)
    member = recipe.pairs["tiny"].teacher.members[0]
    teacher = open_member(Run(recipe, RunFolder(tmp_path / "run")), "tiny", member, tmp_path)
    assert teacher.prompt.startswith(PROMPTS[task, language].template)
    assert PROMPTS[task, language].yes[0] in teacher.prompt.partition("[yes: ")[2]


def test_place_pace_and_price_change_no_result(pairs: Path, tiny_encoder_path: Path):
    def keys(**changes: Any) -> dict[str, str]:
        recipe = server_recipe(pairs, tiny_encoder_path, "http://localhost:9/v1", **changes)
        return stage_keys(recipe, stages_of(recipe))

    assert (
        keys(url="http://elsewhere/v1", price=None, concurrency=2, retries=1, api_key_env="NO_KEY") == keys()
    )
    changed = {name for name, key in keys(max_length=100).items() if key != keys()[name]}
    assert changed == {"pair-teacher", "pair-audit", "pair-teach", "distil", "pair-evaluate"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"task": "symmetric"}, r"unknown key 'pairs\.tiny\.teacher\.members\.0\.task'"),  # the set says it
        ({"language": "zh"}, "`language` chooses a built-in question"),
        ({"limit": 3, "price": None}, "needs a price"),
    ],
)
def test_contradictions_are_refused_when_the_recipe_is_read(
    pairs: Path, tiny_encoder_path: Path, changes: dict[str, Any], problem: str
):
    with pytest.raises(InputError, match=problem):
        server_recipe(pairs, tiny_encoder_path, "http://localhost:9/v1", **changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"api_key_env": "TINY_KEY"}, "the environment variable TINY_KEY is not set"),
        ({"tokenizer": "no/such-tokenizer"}, "no tokenizer can be loaded from 'no/such-tokenizer'"),
    ],
)
def test_a_server_that_cannot_be_asked_is_found_before_any_work(
    pairs: Path,
    tiny_encoder_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    problem: str,
):
    monkeypatch.delenv("TINY_KEY", raising=False)
    recipe = server_recipe(pairs, tiny_encoder_path, "http://localhost:9/v1", **changes)
    with pytest.raises(InputError, match=rf"pairs\.tiny\.teacher\.members\.0: {problem}"):
        run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "pair-data").exists()
