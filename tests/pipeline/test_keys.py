from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from limbeck.pipeline.keys import key_of
from limbeck.recipes.base import ORIGIN, Folder, ModelName, Section


class Part(Section):
    """A section with what a key looks into."""

    folder: Folder
    model: ModelName
    rate: float = 1.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("{}\n")
    (folder / "qrels" / "test.tsv").write_text("q\td\t1\n")
    return folder


def part(folder: Path, model: str = "someone/model") -> Part:
    return Part.model_validate({"folder": folder, "model": model}, context={ORIGIN: Path()})


def test_a_copy_elsewhere_of_another_time_has_the_same_key(data, tmp_path):
    before = key_of("stage", part(data, str(data)))
    copy = shutil.copytree(data, tmp_path / "copy")
    os.utime(copy / "corpus.jsonl", ns=(1, 1))
    assert key_of("stage", part(copy, str(copy))) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "corpus.jsonl").write_text("[]\n"),  # of the same length
        lambda folder: (folder / "qrels" / "test.tsv").unlink(),
        lambda folder: (folder / "qrels" / "test.tsv").rename(folder / "test.tsv"),
        lambda folder: (folder / "new").write_text(""),
    ],
    ids=["content", "gone", "moved within", "new"],
)
def test_a_change_in_a_folder_changes_the_key(data, change):
    before = key_of(part(data))
    change(data)
    assert key_of(part(data)) != before


def test_the_folder_of_a_model_counts_with_its_content(data, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"1")
    before = key_of(part(data, str(model)))
    (model / "weights").write_bytes(b"2")
    assert key_of(part(data, str(model))) != before


def test_a_model_on_the_hub_counts_with_its_name(data):
    assert key_of(part(data, "someone/model")) != key_of(part(data, "someone/other"))


def test_settings_and_their_order(data):
    assert key_of(part(data)) != key_of(part(data).model_copy(update={"rate": 2.0}))
    assert key_of({"a": 1, "b": (1, 2)}) == key_of({"b": [1, 2], "a": 1})
    assert key_of("a", "b") != key_of("b", "a")


def test_paths_within_what_is_no_section(data):
    assert key_of([{"runs": data / "corpus.jsonl"}]) != key_of([{"runs": data / "qrels" / "test.tsv"}])


def test_what_has_no_place_in_a_key():
    with pytest.raises(TypeError, match="object"):
        key_of(object())
