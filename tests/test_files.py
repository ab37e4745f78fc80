from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from limbeck.errors import InputError
from limbeck.files import (
    Records,
    atomic_folder,
    atomic_path,
    find_file,
    first_line,
    open_text,
    replaced_folder,
    require_folder,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def fail_in(atomic: AbstractContextManager[Path], name: str, error: type[BaseException]) -> None:
    """Write half of a file, and fail."""
    with atomic as temporary:
        (temporary / name if name else temporary).write_text("half")
        raise error


def test_atomic_path_appears_on_a_clean_exit_and_makes_folders(tmp_path):
    target = tmp_path / "a" / "b.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_text() == "whole"
    assert names(tmp_path) == ["a/b.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_atomic_path_leaves_what_was_there_after_an_error(tmp_path, error):
    target = tmp_path / "b.txt"
    target.write_text("old")
    with pytest.raises(error):
        fail_in(atomic_path(target), "", error)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["b.txt"]


def test_atomic_path_refuses_a_folder_and_a_file_as_parent(tmp_path):
    with pytest.raises(InputError, match="folder here"), atomic_path(tmp_path):
        pass
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(InputError, match="a file stands where a folder"),
        atomic_path(tmp_path / "file" / "b"),
    ):
        pass


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    code = (
        "import sys, os, signal\n"
        "from limbeck.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    target = tmp_path / "x.arrow"
    assert subprocess.run([sys.executable, "-c", code, str(target)], check=False).returncode != 0
    assert not target.exists()
    assert len(names(tmp_path)) == 1
    # One that lives (here: this very process) is left alone.
    alive = tmp_path / f".x.arrow.{socket.gethostname()}-{os.getpid()}-999.partial"
    alive.write_text("in work")
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == sorted([alive.name, "x.arrow"])


def test_atomic_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "out"
    with pytest.raises(RuntimeError):
        fail_in(atomic_folder(target), "a", RuntimeError)
    assert list(tmp_path.iterdir()) == []
    with atomic_folder(target) as staging:
        (staging / "sub").mkdir()
        (staging / "sub" / "a").write_text("1")
    assert names(tmp_path) == ["out/sub/a"]


def test_atomic_folder_replaces_what_is_stale_and_keeps_the_rest(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    for name in ("queries-dev.arrow", "queries-test.arrow", "notes.txt"):
        (target / name).write_text("old")
    with pytest.raises(RuntimeError):
        fail_in(atomic_folder(target, stale=["queries-*.arrow"]), "queries-test.arrow", RuntimeError)
    assert {path.read_text() for path in target.iterdir()} == {"old"}
    with atomic_folder(target, stale=["queries-*.arrow"]) as staging:
        (staging / "queries-test.arrow").write_text("new")
    assert {path.name: path.read_text() for path in target.iterdir()} == {
        "queries-test.arrow": "new",
        "notes.txt": "old",
    }
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_folder_refuses_a_file(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(InputError, match="this is a file"), atomic_folder(tmp_path / "out"):
        pass


def test_replaced_folder_takes_the_place_of_all_that_stood_there(tmp_path):
    target = tmp_path / "deep" / "out"
    with replaced_folder(target) as staging:
        (staging / "sub").mkdir()
        (staging / "sub" / "a").write_text("1")
        assert not target.exists()
    with pytest.raises(KeyboardInterrupt):
        fail_in(replaced_folder(target), "b", KeyboardInterrupt)
    assert names(tmp_path) == ["deep/out/sub/a"]
    with replaced_folder(target) as staging:
        (staging / "b").write_text("2")
        assert names(target) == ["sub/a"]
    assert names(tmp_path) == ["deep/out/b"]
    assert list(target.parent.iterdir()) == [target]
    with pytest.raises(InputError, match="this is a file"), replaced_folder(target / "b"):
        pass


def test_a_replaced_folder_survives_a_rename_that_fails(tmp_path, monkeypatch):
    target = tmp_path / "out"
    target.mkdir()
    (target / "a").write_text("old")
    rename = Path.rename

    def fails_for_the_new(self, to):
        if self.suffix == ".partial":
            raise OSError("the disk is gone")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fails_for_the_new)
    for folder in (target, tmp_path / "fresh"):
        with pytest.raises(OSError, match="disk is gone"), replaced_folder(folder) as staging:
            (staging / "b").write_text("new")
    assert names(tmp_path) == ["out/a"]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_folder_whose_writer_was_killed_while_it_replaced_it_is_put_back(tmp_path, renames):
    """Killed after so many of its two renames."""
    code = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from limbeck.files import replaced_folder\n"
        "rename, left = Path.rename, int(sys.argv[2])\n"
        "def counted(self, to):\n"
        "    global left\n"
        "    if not left:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    left -= 1\n"
        "    return rename(self, to)\n"
        "Path.rename = counted\n"
        "with replaced_folder(sys.argv[1]) as staging:\n"
        "    (staging / 'a').write_text('new')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    target = tmp_path / "out"
    target.mkdir()
    (target / "a").write_text("old")
    done = subprocess.run([sys.executable, "-c", code, str(target), str(renames)], check=False)
    assert done.returncode == -9
    assert target.exists() == (renames != 1)
    with pytest.raises(RuntimeError):
        fail_in(replaced_folder(target), "a", RuntimeError)
    assert (target / "a").read_text() == ("new" if renames == 2 else "old")
    assert list(tmp_path.iterdir()) == [target]


def test_open_text_takes_byte_order_mark_crlf_and_a_last_line_without_end(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes("\ufeffé\r\n\n\u2028b".encode())
    assert list(open_text(path)) == [(1, "é"), (2, ""), (3, "\u2028b")]  # U+2028 ends no line


def test_open_text_knows_gzip_by_its_content(tmp_path):
    for name in ("x.txt.gz", "x.txt"):
        (tmp_path / name).write_bytes(gzip.compress(b"one\ntwo\n", mtime=0))
        assert list(open_text(tmp_path / name)) == [(1, "one"), (2, "two")]


@pytest.mark.parametrize(
    ("content", "line", "match"),
    [
        (b"", None, "the file is empty"),
        (gzip.compress(b"", mtime=0), None, "the file is empty"),
        (b"good\nbad \xff\n", 2, "byte 5 of the line .0xff. is not UTF-8"),
        ("good\n".encode("utf-16"), 1, "is not UTF-8"),
        (gzip.compress(b"good\n" * 50_000, mtime=0)[:-20], None, "truncated or damaged after line [1-9]"),
        (gzip.compress(b"good\n", mtime=0)[:10], None, "truncated or damaged after line 0"),
        (gzip.compress(b"good\n", mtime=0)[:-8] + bytes(8), None, "truncated or damaged"),  # a wrong checksum
    ],
)
def test_open_text_refuses(tmp_path, refused, content, line, match):
    (tmp_path / "x.txt").write_bytes(content)
    refused(lambda: list(open_text(tmp_path / "x.txt")), match, name="x.txt", line=line)


def test_open_text_refuses_what_is_not_there_or_no_file(tmp_path, refused):
    refused(lambda: list(open_text(tmp_path / "none.txt")), "no such file", name="none.txt")
    refused(lambda: list(open_text(tmp_path)), "this is a folder")
    (tmp_path / "x.gz").write_text("plain")
    refused(lambda: list(open_text(tmp_path / "x.gz")), "not a gzip file", name="x.gz")
    refused(lambda: require_folder(tmp_path / "none"), "no such folder")
    refused(lambda: require_folder(tmp_path / "x.gz"), "this is a file")


def test_records_know_their_lines_past_header_and_blank_lines(tmp_path, refused):
    def number(text: str) -> int:
        if not text.isdigit():
            raise InputError(f"{text!r} is no number")
        return int(text)

    path = tmp_path / "x.txt"
    path.write_text("header\n\n7\n  \n8\n")
    records = Records(path, number, skip=1)
    assert list(records) == list(records) == [7, 8]
    assert records.place(0) == (path, 3)
    assert records.place(1) == (path, 5)
    path.write_text("1\nx\n")
    refused(lambda: list(Records(path, number)), "'x' is no number", name="x.txt", line=2)
    path.write_text("header\n")
    refused(lambda: list(Records(path, number, skip=1)), "nothing but a header", name="x.txt")
    path.write_text("\n \n")
    refused(lambda: list(Records(path, number)), "only blank lines", name="x.txt")
    refused(lambda: first_line(path), "only blank lines", name="x.txt")


def test_write_text_by_name(tmp_path):
    for name in ("a.tsv", "a.tsv.gz"):
        with write_text(tmp_path / name) as stream:
            stream.write("é\n")
        assert list(open_text(tmp_path / name)) == [(1, "é")]
    assert (tmp_path / "a.tsv.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert find_file(tmp_path, "a.tsv") == tmp_path / "a.tsv"
    (tmp_path / "a.tsv").unlink()
    assert find_file(tmp_path, "a.tsv") == tmp_path / "a.tsv.gz"
    assert find_file(tmp_path, "b.tsv") is None
