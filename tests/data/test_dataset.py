from __future__ import annotations

import pytest

from limbeck.data import Judgements, Passage, Passages, Queries, Query, RetrievalDataset, open_dataset


@pytest.fixture
def folder(tmp_path):
    Passages.write(tmp_path / "passages.arrow", [Passage("d1", "one"), Passage("d2", "two")])
    for split in ("test", "train", "extra"):
        Queries.write(tmp_path / f"queries-{split}.arrow", [Query("q1", "ask")])
        Judgements([("q1", "d2", 1)]).write(tmp_path / f"judgements-{split}.arrow")
    return tmp_path


def test_open_dataset(folder):
    dataset = open_dataset(folder)
    assert dataset.splits == ["train", "test", "extra"]
    assert dataset.passages.ids() == ["d1", "d2"]
    assert dataset.queries["test"].text("q1") == "ask"
    assert dataset.judgements["extra"].relevant("q1") == ["d2"]
    assert dataset.training_passages is None
    assert dataset.training_view is dataset.passages
    dataset.check()


def test_training_passages_are_the_same_ids_with_other_text(folder, refused):
    Passages.write(folder / "training_passages.arrow", [Passage("d2", "2"), Passage("d1", "1")])
    dataset = open_dataset(folder)
    assert dataset.training_view.contents(dataset.training_view.rows(["d1"])) == ["1"]
    assert dataset.passages.contents([0]) == ["one"]
    dataset.check()
    Passages.write(folder / "training_passages.arrow", [Passage("d2", "2"), Passage("d3", "1")])
    refused(open_dataset(folder).check, "other ids than the passages", name="training_passages.arrow")


def test_what_is_missing_is_named(folder, refused, tmp_path):
    refused(lambda: open_dataset(folder / "none"), "no such folder", name="none")
    refused(lambda: open_dataset(folder / "passages.arrow"), "this is a file")
    (folder / "judgements-train.arrow").unlink()
    refused(lambda: open_dataset(folder), "split 'train' has queries only")
    (folder / "queries-train.arrow").unlink()
    (folder / "passages.arrow").unlink()
    refused(lambda: open_dataset(folder), "no such file", name="passages.arrow")


def test_check_finds_judgements_of_another_corpus(folder, refused):
    opened = open_dataset(folder)
    other = RetrievalDataset(
        opened.passages, opened.queries, opened.judgements | {"test": Judgements([("q1", "x", 1)])}
    )
    refused(other.check, "passage 'x' is judged but does not exist")
