"""Lists of pairs: neighbours of labelled texts, and texts that no label is known of."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from limbeck.pipeline import Run, RunFolder, stages_of
from limbeck.pipeline.pairs.mining import PairLists, mining_settings, open_lists
from limbeck.pipeline.run import stage_keys
from tests.pipeline.pairs.tiny_pairs import pair_recipe, set_content
from tests.pipeline.tiny_corpus import run_recipe


def first_texts(pairs: Path) -> list[str]:
    return [line.split("\t")[0] for line in (pairs / "train.tsv").read_text().splitlines()[1:]]


def more_texts(path: Path) -> list[str]:
    with gzip.open(path, "rt") as stream:
        return [json.loads(line)["text"] for line in stream]


@pytest.fixture
def new(pairs: Path) -> list[str]:
    """Two texts that no pair has, each all but the same as one that a training pair has."""
    return [text + " the" for text in first_texts(pairs)[:2]]


@pytest.fixture
def more(pairs: Path, new: list[str], tmp_path: Path) -> Path:
    """A file of them, one of them twice, and of a text of a training pair."""
    path = tmp_path / "more.jsonl.gz"
    with gzip.open(path, "wt") as stream:
        for row, text in enumerate([new[0], first_texts(pairs)[0], new[1], new[0]]):
            stream.write(json.dumps({"_id": str(row), "text": text}) + "\n")
    return path


def mined(pairs: Path, encoder: Path, folder: Path, /, **changes: object) -> PairLists:
    recipe = pair_recipe(pairs, encoder, pairs={"tiny": set_content(pairs, **changes)})
    run_recipe(recipe, folder, until="pair-mine")
    return open_lists(Run(recipe, RunFolder(folder)), "tiny")


def test_texts_without_labels_are_neighbours_and_have_lists_of_their_own(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path, more: Path, new: list[str]
):
    plain = mined(pairs, tiny_encoder_path, tmp_path / "plain")
    lists = mined(pairs, tiny_encoder_path, tmp_path / "more", unlabelled=str(more))
    labelled, texts = len(plain.targets), len(plain.texts)
    assert lists.texts.contents()[:texts] == plain.texts.contents()
    assert lists.texts.contents()[texts:] == new
    assert (lists.lists[:labelled, :2] == plain.lists[:, :2]).all()
    assert (lists.targets[:labelled] == plain.targets).all()
    assert lists.lists[labelled:, 0].tolist() == [texts, texts + 1]
    assert np.isnan(lists.targets[labelled:]).all()
    # The nearest neighbour stands for the text that others are labelled with: two more, one at random.
    assert lists.lists.shape == (labelled + 2, 5)
    assert all(len(set(row)) == 5 for row in lists.lists[labelled:].tolist())
    assert (lists.lists[labelled:] >= 0).all()
    vectors = SentenceTransformer(str(tiny_encoder_path), device="cpu").encode(
        lists.texts.contents(), normalize_embeddings=True
    )
    near = vectors[texts:] @ vectors.T
    near[[0, 1], [texts, texts + 1]] = -1
    assert lists.lists[labelled:, 1:4].tolist() == np.argsort(-near, axis=1)[:, :3].tolist()
    assert (lists.lists[:labelled, 2:4] >= texts).any()  # new texts are neighbours of labelled ones


def test_one_that_is_a_second_text_alone_gets_a_list_unless_pairs_are_swapped(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path
):
    first, second = (pairs / "train.tsv").read_text().splitlines()[1].split("\t")[:2]
    path = tmp_path / "more.tsv"
    path.write_text(f"0\t{first}\n1\t{second}\n")
    plain = mined(pairs, tiny_encoder_path, tmp_path / "plain", unlabelled=str(path))
    row = plain.texts.contents().index(second)
    assert plain.lists[np.isnan(plain.targets), 0].tolist() == [row]
    assert 0 not in plain.lists[-1]  # what it is labelled with, text 0, is no neighbour
    swapped = mined(pairs, tiny_encoder_path, tmp_path / "swapped", unlabelled=str(path), swap=True)
    assert not np.isnan(swapped.targets).any()


def test_an_asymmetric_set_has_them_as_second_texts_alone(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path, more: Path, new: list[str]
):
    lists = mined(pairs, tiny_encoder_path, tmp_path / "run", unlabelled=str(more), task="asymmetric")
    rows = [row for row, text in enumerate(lists.texts.contents()) if text in new]
    assert not np.isnan(lists.targets).any()
    assert not np.isin(lists.lists[:, :2], rows).any()
    assert np.isin(lists.lists[:, 2:], rows).any()
    # A training query that the file gives can be a second text as well.
    assert first_texts(pairs)[0] in more_texts(more)
    assert np.isin(lists.lists[:, 2:], [0]).any()


def test_they_change_what_the_student_learns_and_nothing_else(
    pairs: Path, tiny_encoder_path: Path, more: Path
):
    def keys(**changes: object) -> dict[str, str]:
        recipe = pair_recipe(pairs, tiny_encoder_path, pairs={"tiny": set_content(pairs, **changes)})
        return stage_keys(recipe, stages_of(recipe))

    # Lists of finished runs are not mined again.
    plain = pair_recipe(pairs, tiny_encoder_path, pairs={"tiny": set_content(pairs)})
    assert mining_settings(plain)[0] == {"tiny": [2, 1, False, "symmetric"]}
    before, after = keys(), keys(unlabelled=str(more))
    assert {name for name in before if before[name] != after[name]} == {
        "pair-mine",
        "pair-teach",
        "distil",
        "pair-evaluate",
    }
    more.write_bytes(gzip.compress(b'{"_id": "0", "text": "the sea"}\n'))
    assert keys(unlabelled=str(more))["pair-mine"] != after["pair-mine"]


def test_a_run_with_them_goes_to_its_end_and_tells_what_they_are(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path, more: Path
):
    tested = (pairs / "test.tsv").read_text().splitlines()[1].split("\t")[:2]
    with gzip.open(more, "at") as stream:
        for text in tested:
            stream.write(json.dumps({"_id": text, "text": text}) + "\n")
    one = set_content(pairs, unlabelled=str(more), neighbours=100)
    losses = {"contrastive": 1, "in_batch": 1, "hard_easy": 0.1, "feature": 0.001, "in_batch_teacher": True}
    recipe = pair_recipe(pairs, tiny_encoder_path, pairs={"tiny": one}, pair_loss=losses)
    notes = run_recipe(recipe, tmp_path / "run", anyway=True).notes
    assert any("tiny: 5 texts without labels" in note for note in notes)
    assert any("2 of them are in test pairs, and 1 test pairs are among" in note for note in notes)
    assert not any("of them are in dev pairs" in note for note in notes)
    lines = json.loads((tmp_path / "run" / "distil" / "curve.json").read_text())
    values = [value for line in lines for name, value in line.items() if "loss" in name]
    assert values
    assert np.isfinite(values).all()
    assert (tmp_path / "run" / "pairs" / "report.html").exists()


def test_a_line_that_is_no_text_is_told_with_its_place(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path, refused
):
    path = tmp_path / "more.jsonl"
    for content, message, line in (
        ('{"_id": "0", "text": "the sea"}\n{"_id": "1"}\n', "there is no key 'text'", 2),
        ('{"_id": "0", "text": " "}\n', "empty", 1),
        ("0\tthe sea\n1\t \n", "empty", 2),
        ("the sea\tthe city\t3.5\n", "there is a title beside the text", 1),
        ("", "the file is empty", None),
    ):
        path.write_text(content)
        refused(
            lambda: mined(pairs, tiny_encoder_path, tmp_path / "run", unlabelled=str(path)),
            message,
            name="more.jsonl",
            line=line,
        )


def test_without_neighbours_they_are_refused(pairs: Path, tiny_encoder_path: Path, more: Path, refused):
    one = set_content(pairs, neighbours=0, unlabelled=str(more))
    refused(
        lambda: pair_recipe(pairs, tiny_encoder_path, pairs={"tiny": one}),
        "neighbours is 0",
        name="recipe.yaml",
    )
