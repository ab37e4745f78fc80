"""From a question to passages, out of the folder of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.data import Passage, Passages
from limbeck.errors import InputError
from limbeck.indexes.vectors import VectorIndex
from limbeck.students.dense.retriever import INDEX, PASSAGES, SETTINGS, STUDENT, DenseRetriever
from limbeck.students.dense.student import DenseStudent
from tests.tiny_models import WORDS

SIZE = 40


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_path: Path) -> Path:
    """What a finished run leaves for searching; the interaction module disagrees with the cosine."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "recipe.yaml").write_text("name: tiny\n")
    (folder / PASSAGES).parent.mkdir()
    passages = Passages.write(
        folder / PASSAGES,
        [Passage(f"p{i:02}", f"{WORDS[i]} {WORDS[(7 * i) % 60]}", title=f"title {i}") for i in range(SIZE)],
    )
    student = DenseStudent.start(str(tiny_encoder_path), max_length=32, heads=4, hidden=16, device="cpu")
    torch.manual_seed(0)
    for weights in student.interaction.outputs.parameters():
        torch.nn.init.normal_(weights, std=10)
    student.save(folder / "distil" / STUDENT)
    vectors = student.encode([passage.content for passage in passages])
    VectorIndex.build(folder / "index" / INDEX, [vectors], passages.ids(), student.interaction_weights())
    (folder / "index" / SETTINGS).write_text(json.dumps({"candidates": 10}))
    return folder


@pytest.fixture(scope="module")
def retriever(run_folder: Path) -> DenseRetriever:
    return DenseRetriever.open(run_folder)


QUESTION = "where is the cat"


def test_hits_come_best_first_with_what_a_reader_wants(retriever):
    hits = retriever.search(QUESTION, k=5)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits:
        row = int(hit.passage_id[1:])
        assert (hit.title, hit.text) == (f"title {row}", retriever.passages[row].text)


def test_the_interaction_ranks_the_candidates_by_cosine(retriever):
    vectors = retriever.index.vectors(np.arange(SIZE))
    cosines = vectors @ retriever.student.encode([QUESTION], query=True)[0]
    contents = [passage.content for passage in retriever.passages]
    logits = retriever.student.score(QUESTION, contents)
    candidates = np.argsort(-cosines)[:10]
    expected = sorted(candidates, key=lambda row: -logits[row])[:5]
    assert retriever.rank(QUESTION, 5).passage_ids == [f"p{row:02}" for row in expected]
    by_cosine = retriever.rank_by_cosine(QUESTION, 5)
    assert by_cosine.passage_ids == [f"p{row:02}" for row in candidates[:5]]
    assert by_cosine.passage_ids != retriever.rank(QUESTION, 5).passage_ids


def test_without_a_cosine_part_every_passage_is_scored(retriever, tiny_encoder_path, tmp_path):
    torch.manual_seed(1)
    student = DenseStudent.start(
        str(tiny_encoder_path), max_length=32, heads=4, hidden=16, interaction_start="random", device="cpu"
    )
    contents = [passage.content for passage in retriever.passages]
    vectors = student.encode(contents)
    weights = student.interaction_weights()
    index = VectorIndex.build(tmp_path / "index", [vectors], retriever.passages.ids(), weights)
    logits = student.score(QUESTION, contents)
    found = DenseRetriever(student, index, retriever.passages, candidates=5).rank(QUESTION, 5)
    assert found.passage_ids == [f"p{row:02}" for row in np.argsort(-logits, kind="stable")[:5]]


def test_rankings_carry_the_querys_id(retriever):
    assert retriever.rank(QUESTION, 3, "q7").query_id == "q7"
    assert retriever.rank_by_cosine(QUESTION, 3, "q7").query_id == "q7"


@pytest.mark.parametrize(("k", "found"), [(1, 1), (25, 25), (1000, SIZE)])
def test_as_many_come_as_are_asked_for_and_there(retriever, k, found):
    hits = retriever.search(QUESTION, k)
    assert len({hit.passage_id for hit in hits}) == len(hits) == found


@pytest.mark.parametrize("question", ["", "  \n\t"])
def test_an_empty_question_is_refused(retriever, question):
    with pytest.raises(InputError, match="question is empty"):
        retriever.search(question)


def test_no_results_asked_for_is_refused(retriever):
    with pytest.raises(InputError, match="0 results"):
        retriever.search(QUESTION, 0)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(InputError, match="not a run folder") as caught:
        DenseRetriever.open(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_run_without_its_index_says_how_to_go_on(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: tiny\n")
    with pytest.raises(InputError, match=r"no index yet[\s\S]*limbeck index"):
        DenseRetriever.open(tmp_path)


@pytest.mark.parametrize("part", [f"distil/{STUDENT}", f"index/{INDEX}", PASSAGES])
def test_a_missing_part_is_named(run_folder, tmp_path, part):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    path = folder / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError) as caught:
        DenseRetriever.open(folder)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        (f"distil/{STUDENT}/config.json", "distil"),
        (f"distil/{STUDENT}/1_PMA/config.json", "distil"),
        (f"index/{INDEX}/header.json", "index"),
        (f"index/{SETTINGS}", "index"),
        (PASSAGES, "data"),
    ],
)
def test_a_damaged_part_says_what_to_delete_and_run(run_folder: Path, tmp_path: Path, file: str, stage: str):
    """Running again alone does not help: a stage counts as done while its folder is there."""
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (folder / file).write_bytes(b"")
    with pytest.raises(InputError) as caught:
        DenseRetriever.open(folder)
    assert f"delete {folder / stage}, then `limbeck index" in str(caught.value)


def test_a_student_that_lacks_a_part_is_an_error(run_folder: Path, tmp_path: Path):
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (folder / "distil" / STUDENT / "1_PMA" / "config.json").unlink()
    with pytest.raises(InputError, match="the student cannot be read"):
        DenseRetriever.open(folder)


def test_an_index_of_another_student_is_refused(run_folder: Path, tmp_path: Path, tiny_encoder_path: Path):
    """As a run leaves them that was stopped after it had distilled anew."""
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    shutil.rmtree(folder / "distil")
    other = DenseStudent.start(
        str(tiny_encoder_path), max_length=32, heads=4, hidden=16, device="cpu", seed=1
    )
    other.save(folder / "distil" / STUDENT)
    with pytest.raises(InputError, match=r"built from another student or corpus.*`limbeck index"):
        DenseRetriever.open(folder)


def test_an_index_of_another_corpus_is_refused(run_folder: Path, tmp_path: Path):
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    settings = {"candidates": 10, "passages": "of the corpus before"}
    (folder / "index" / SETTINGS).write_text(json.dumps(settings))
    with pytest.raises(InputError, match="built from another student or corpus"):
        DenseRetriever.open(folder)
