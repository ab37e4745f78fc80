from __future__ import annotations

import errno
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.errors import InputError
from limbeck.teachers import ScoreCache, score_key

# Scores 2,000 pairs in commits of ten and notes every pair that it computes.
WORKER = """
import sys, time
import numpy as np
from limbeck.teachers.cache import ScoreCache, score_key
path, notes, worker, pause = sys.argv[1:]
with ScoreCache(path) as cache, open(notes, "a", buffering=1) as out:
    for start in range(0, 2000, 10):
        numbers = range(start, start + 10)
        keys = [score_key("t", "1", "", "q", str(n)) for n in numbers]
        missing = [at for at, score in enumerate(cache.get(keys)) if np.isnan(score)]
        if missing:
            time.sleep(float(pause))
            for at in missing:
                out.write(f"{worker} {start + at}\\n")
            cache.put([keys[at] for at in missing], np.array([float(start + at) for at in missing]))
"""
KEYS = [score_key("t", "1", "", "q", str(number)) for number in range(2000)]


def start_worker(tmp_path, worker, pause):
    arguments = [tmp_path / "scores.sqlite", tmp_path / "notes.txt", worker, pause]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *map(str, arguments)], stderr=subprocess.PIPE, text=True
    )


def test_get_put_and_what_is_counted(tmp_path):
    with ScoreCache(tmp_path / "new" / "scores.sqlite") as cache:
        assert np.isnan(cache.get([b"a", b"b"])).all()
        cache.put([b"a"], np.array([0.5]))
        cache.put([b"a", b"c"], np.array([9.0, -1.5]))  # the first score of a key stands
        assert cache.get([b"c", b"b", b"a", b"a"]) == pytest.approx([-1.5, np.nan, 0.5, 0.5], nan_ok=True)
        assert (cache.hits, cache.misses, cache.hit_share, len(cache)) == (3, 3, 0.5, 2)
    with ScoreCache(tmp_path / "new" / "scores.sqlite") as again:
        assert again.get([b"a"]).tolist() == [0.5]


def test_features_are_kept_beside_scores(tmp_path):
    path = tmp_path / "scores.sqlite"
    with ScoreCache(path) as cache:
        cache.put([b"a"], np.array([0.5]))
        cache.put([b"a", b"b"], np.array([9.0, 2.0]), np.array([[1.0, -0.25], [3.0, 4.0]]))
        cache.put([b"b"], np.array([7.0]), np.array([[8.0, 8.0]]))  # the first of a key stands
        a, c, b = cache.features([b"a", b"c", b"b"])
        assert (a.dtype, a.tolist(), b.tolist(), c) == (np.float16, [1.0, -0.25], [3.0, 4.0], None)
        assert cache.get([b"a", b"b"]).tolist() == [0.5, 2.0]
    with ScoreCache(path, read_only=True) as again:
        assert again.features([b"b"])[0].tolist() == [3.0, 4.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e5])
def test_a_feature_that_cannot_be_kept_keeps_nothing(tmp_path, bad, refused):
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        features = np.array([[1.0], [bad]])
        refused(
            lambda: cache.put([b"a", b"b"], np.zeros(2), features), "half precision", name="scores.sqlite"
        )
        assert len(cache) == 0


@pytest.mark.parametrize("rows", [1, 3])
def test_features_of_another_number_of_keys_keep_nothing(tmp_path, rows):
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        with pytest.raises(ValueError, match="zip"):
            cache.put([b"a", b"b"], np.zeros(2), np.ones((rows, 2)))
        assert len(cache) == 0
        assert cache.features([b"a", b"b"]) == [None, None]


@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_from_before_there_were_features(tmp_path, read_only):
    path = tmp_path / "scores.sqlite"
    with sqlite3.connect(path) as old:
        old.execute("CREATE TABLE scores (key BLOB PRIMARY KEY, score REAL NOT NULL) WITHOUT ROWID")
        old.execute("INSERT INTO scores VALUES (?, ?)", (b"a", 0.5))
    old.close()
    with ScoreCache(path, read_only=read_only) as cache:
        assert cache.get([b"a"]).tolist() == [0.5]
        assert cache.features([b"a"]) == [None]


def test_more_keys_than_one_query_takes(tmp_path):
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        cache.put(KEYS, np.arange(2000.0))
        assert cache.get(KEYS[::-1]).tolist() == list(range(1999, -1, -1))
        assert cache.get([]).shape == (0,)


def test_what_is_not_finite_is_refused(tmp_path):
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        with pytest.raises(InputError, match="NaN or infinite"):
            cache.put([b"a", b"b"], np.array([1.0, np.inf]))
        assert len(cache) == 0


def test_a_cache_that_another_process_holds_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "scores.sqlite"
    monkeypatch.setattr("limbeck.teachers.cache.BUSY_SECONDS", 0.1)
    with ScoreCache(path) as cache:
        cache.put([b"a"], np.array([1.0]))
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputError, match=r"another process has held .* nothing is lost"):
            cache.put([b"b"], np.array([2.0]))
        holder.execute("ROLLBACK")
        holder.close()
        cache.put([b"b"], np.array([2.0]))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(InputError, match=r"another process has held"):
        ScoreCache(path)
    holder.close()
    with ScoreCache(path) as cache:
        assert cache.get([b"a", b"b"]).tolist() == [1.0, 2.0]


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "text.sqlite").write_text("no database at all, " * 100)
    with pytest.raises(InputError, match="cannot be read as a score cache"):
        ScoreCache(tmp_path / "text.sqlite")
    with pytest.raises(InputError, match="no score cache"):
        ScoreCache(tmp_path / "missing.sqlite", read_only=True)
    sqlite3.connect(tmp_path / "other.sqlite").execute("CREATE TABLE scores (x TEXT)").connection.close()
    with pytest.raises(InputError, match="no such column"):
        ScoreCache(tmp_path / "other.sqlite")


def test_reading_while_another_writes(tmp_path):
    with (
        ScoreCache(tmp_path / "s.sqlite") as writer,
        ScoreCache(tmp_path / "s.sqlite", read_only=True) as reader,
    ):
        writer.put([b"a"], np.array([1.0]))
        assert reader.get([b"a"]).tolist() == [1.0]
        with pytest.raises(InputError, match="reading only"):
            reader.put([b"b"], np.array([1.0]))


fields = st.tuples(*[st.text(max_size=3)] * 5)


@given(fields, fields)
def test_keys_differ_where_a_field_differs(first, second):
    assert (score_key(*first) == score_key(*second)) == (first == second)


def test_text_does_not_run_from_field_to_field():
    assert score_key("t", "1", "", "ab", "c") != score_key("t", "1", "", "a", "bc")
    assert len(score_key("t", "1", "", "a", "b")) == 16


def test_killed_again_and_again(tmp_path):
    """After each SIGKILL the cache is sound, and what was committed is never computed again."""
    rng = random.Random(0)
    kept_before: set[int] = set()
    for attempt in range(4):
        process = start_worker(tmp_path, f"run{attempt}", 0.001)
        wait_for_progress(tmp_path / "scores.sqlite", process, len(kept_before))
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with ScoreCache(tmp_path / "scores.sqlite") as cache:
            assert cache._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            scores = cache.get(KEYS)
        kept = set(np.flatnonzero(~np.isnan(scores)).tolist())
        assert kept >= kept_before
        assert all(scores[number] == number for number in kept)
        computed = computed_by(tmp_path / "notes.txt", f"run{attempt}")
        assert not computed & kept_before
        assert len(computed - kept) <= 10  # a kill loses one commit at most
        kept_before = kept
    process = start_worker(tmp_path, "last", 0)
    assert process.wait() == 0
    assert not computed_by(tmp_path / "notes.txt", "last") & kept_before
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        assert cache.get(KEYS).tolist() == list(range(2000))


def wait_for_progress(path, process, kept):
    """Until the process has committed more than was kept, or has ended."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with ScoreCache(path, read_only=True) as cache:
                if len(cache) > kept:
                    return
        except InputError:
            pass  # not made yet
        time.sleep(0.005)


def computed_by(notes, worker):
    lines = notes.read_text().splitlines()
    return {int(line.split()[1]) for line in lines if line.startswith(f"{worker} ") and line[-1].isdigit()}


def test_two_processes_at_once(tmp_path):
    workers = [start_worker(tmp_path, name, 0.0005) for name in ("one", "two", "three")]
    for process in workers:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        assert cache.get(KEYS).tolist() == list(range(2000))


def test_a_full_disk_is_said_to_be_full(tmp_path):
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        cache.put(KEYS[:1], np.array([0.5]))
        pages = cache._connection.execute("PRAGMA page_count").fetchone()[0]
        cache._connection.execute(f"PRAGMA max_page_count = {pages}")  # what a full disk does to a file
        with pytest.raises(OSError, match=r"scores\.sqlite") as caught:
            cache.put(KEYS, np.zeros(len(KEYS)))
        assert caught.value.errno == errno.ENOSPC
        assert len(cache) == 1


def test_a_file_that_is_damaged_inside_is_an_error(tmp_path):
    path = tmp_path / "scores.sqlite"
    with ScoreCache(path) as cache:
        cache.put(KEYS, np.zeros(len(KEYS)))
    with path.open("r+b") as file:  # all but the first page, which opening reads
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(InputError, match="cannot be read as a score cache"), ScoreCache(path) as cache:
        cache.get(KEYS)
