"""The directory is complete or not there, whatever happens to the build or the files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from limbeck.errors import InputError
from limbeck.indexes.vectors import VectorIndex
from limbeck.indexes.vectors.storage import HEADER, ArrayWriter

from .conftest import DIM, random_vectors, random_weights

FILES = ["vectors.npy", "passage_halves.npy", "interaction.npz", "id_text.npy", "id_ends.npy"]


def build(directory, count=20, **options):
    ids = [f"p{row}" for row in range(count)]
    return VectorIndex.build(directory, [random_vectors(count)], ids, random_weights(), **options)


def test_an_array_written_in_blocks_is_a_plain_npy_file(tmp_path):
    rows = np.arange(60, dtype=np.float32).reshape(20, 3)
    writer = ArrayWriter(tmp_path / "rows.npy", (3,), np.float32)
    for start in range(0, 20, 7):
        writer.append(rows[start : start + 7])
    assert writer.finish()["size_bytes"] == (tmp_path / "rows.npy").stat().st_size
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), rows)


@pytest.mark.parametrize("name", [HEADER, *FILES])
@pytest.mark.parametrize("damage", ["cut", "removed", "emptied"])
def test_damaged_files_are_refused(tmp_path, name, damage):
    path = build(tmp_path / "index").directory / name
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: -5 if damage == "cut" else 0])
    with pytest.raises(InputError, match=name.replace(".", r"\.") if damage != "removed" else "index"):
        VectorIndex.open(tmp_path / "index")


def test_a_file_of_another_build_is_refused(tmp_path):
    one = build(tmp_path / "one").directory / "vectors.npy"
    np.save(one, random_vectors(10).astype(np.float64))  # as many bytes, other numbers
    with pytest.raises(InputError, match=r"vectors\.npy: the array is \(10, 16\) float64"):
        VectorIndex.open(tmp_path / "one")


@pytest.mark.parametrize("name", FILES)
def test_changed_content_is_found_when_asked(tmp_path, name):
    index = build(tmp_path / "index")
    index.check_content()
    path = index.directory / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="changed since it was built"):
        index.check_content()


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("not json", "cannot be read"),
        ("[]", "not the header"),
        ('{"format": "something else"}', "not the header"),
        ('{"format": "limbeck vector index", "version": 99}', "version 99"),
        ('{"format": "limbeck vector index", "version": 1}', "list the files"),
        ('{"format": "limbeck vector index", "version": 1, "files": {"x": {}}}', "list the files"),
        ('{"format": "limbeck vector index", "version": 1, "files": {}}', "incomplete"),
    ],
)
def test_foreign_headers_are_refused(tmp_path, header, problem):
    (tmp_path / HEADER).write_text(header)
    with pytest.raises(InputError, match=problem):
        VectorIndex.open(tmp_path)


def test_a_directory_without_an_index_is_refused(tmp_path):
    with pytest.raises(InputError, match="no vector index here"):
        VectorIndex.open(tmp_path / "absent")


def test_a_directory_with_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(InputError, match="not a vector index"):
        build(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_an_empty_directory_and_an_older_index_are_replaced(tmp_path):
    directory = tmp_path / "deep" / "index"
    directory.mkdir(parents=True)
    assert len(build(directory, 20)) == 20
    assert len(build(directory, 30)) == 30
    assert [path.name for path in directory.parent.iterdir()] == ["index"]


def test_a_build_that_fails_leaves_the_older_index(tmp_path):
    build(tmp_path / "index", 20)

    def blocks():
        yield random_vectors(5)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        VectorIndex.build(tmp_path / "index", blocks(), ["a"] * 5)
    assert len(VectorIndex.open(tmp_path / "index")) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_killed_build_leaves_the_older_index_and_is_cleaned_up(tmp_path):
    build(tmp_path / "index", 20)
    script = textwrap.dedent(
        f"""
        import os, signal
        import numpy as np
        from pathlib import Path
        from limbeck.indexes.vectors import VectorIndex

        def blocks():
            yield np.eye({DIM}, dtype=np.float32)
            os.kill(os.getpid(), signal.SIGKILL)

        VectorIndex.build(Path({str(tmp_path / "index")!r}), blocks(), ["a"] * {DIM})
        """
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False, env={**os.environ})
    assert killed.returncode == -9
    assert len(VectorIndex.open(tmp_path / "index")) == 20
    assert len(list(tmp_path.iterdir())) == 2  # what the killed build left
    build(tmp_path / "index", 30)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_the_header_tells_what_is_inside(tmp_path):
    index = build(tmp_path / "index", half_type="float16")
    header = json.loads((index.directory / HEADER).read_text())
    assert (header["passages"], header["dim"], header["half_type"]) == (20, DIM, "float16")
    assert sorted(header["files"]) == sorted(FILES)
    assert index.size_bytes == sum((index.directory / name).stat().st_size for name in FILES)
