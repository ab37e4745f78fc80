"""What is missing, damaged or foreign is refused, with the file and what to do."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limbeck.errors import InputError
from limbeck.indexes.fm_index import IdentifierIndex, writer
from tests.indexes.fm_index.brute_index import check_index

TEXTS = [(1, 2, 3, 1, 2), (2, 2, 2), (3, 1), (), (1, 2)]
LIVE = {number: text for number, text in enumerate([*TEXTS, (4, 1)]) if number != 1}
PREFIXES = [(), (1,), (1, 2), (2, 2), (4,), (9,)]
SCORES = np.array([[0.0, 1.0, 1.0, -1.0, 2.0]], np.float32)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with two parts and a deletion."""
    folder = tmp_path_factory.mktemp("sound") / "index"
    index = IdentifierIndex.build(folder, TEXTS)
    index.add([(4, 1)])
    index.delete([1])
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


def copied(sound, place):
    """A copy in which no file is noted as known to be sound."""
    folder = place / "index"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder, ignore=shutil.ignore_patterns("*.sound"))
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_changed_byte_is_refused_or_changes_nothing(sound, place, data):
    folder = copied(sound, place)
    path = folder / data.draw(st.sampled_from(names(folder)))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    expect_refusal_or_truth(folder)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_truncated_files_are_refused(sound, place, data):
    folder = copied(sound, place)
    path = folder / data.draw(st.sampled_from(names(folder)))
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    expect_refusal_or_truth(folder)


def expect_refusal_or_truth(folder):
    refusal = None
    try:
        index = IdentifierIndex.open(folder)
    except InputError as error:
        refusal = error
    if refusal is None:
        check_index(index, LIVE, PREFIXES, scores=SCORES)
    else:
        assert str(folder) in (refusal.path or "")


def test_each_missing_file_is_named(sound, place):
    for name in names(sound):
        folder = copied(sound, place)
        (folder / name).unlink()
        with pytest.raises(InputError, match=f"{name}: there is no such file"):
            IdentifierIndex.open(folder)


def test_a_sound_file_of_another_index_is_refused(sound, place):
    folder = copied(sound, place)
    other = IdentifierIndex.build(place / "other", [(1, 2, 3, 1, 1), (2, 2, 2), (3, 1), (), (1, 2)])
    part = next(other.folder.glob("part-*"))
    shutil.copy(part, folder / part.name)
    with pytest.raises(InputError, match="not the one that the manifest names"):
        IdentifierIndex.open(folder)
    shutil.rmtree(other.folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1, 2]", "not the manifest of an identifier index"),
        (b'{"format": "other"}', "not the manifest of an identifier index"),
    ],
)
def test_foreign_manifests_are_refused(sound, place, content, message):
    folder = copied(sound, place)
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        IdentifierIndex.open(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "the index has version 99"),
        ({"generation": 99}, "the manifest is damaged"),
        ({"parts": []}, "the manifest is damaged"),
        ({"parts": [1]}, "the manifest is damaged"),
        ({"parts": None}, "the manifest is damaged"),
        ({"checksum": "0"}, "the manifest is damaged"),
        ({"part_tokens": [float("nan")]}, "the manifest is damaged"),
    ],
)
def test_changed_manifests_are_refused(sound, place, change, message):
    folder = copied(sound, place)
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        IdentifierIndex.open(folder)
    with pytest.raises(InputError, match=message):
        writer.add(folder, [[1]], wait_s=1)


def test_no_folder_and_no_index(tmp_path):
    with pytest.raises(InputError, match="there is no such folder"):
        IdentifierIndex.open(tmp_path / "none")
    with pytest.raises(InputError, match="there is no such file"):
        IdentifierIndex.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="this is a file"):
        IdentifierIndex.open(tmp_path / "file")
