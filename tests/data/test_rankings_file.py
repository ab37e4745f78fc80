from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow.feather
import pytest

from limbeck.data import RankedList, Rankings, RankingsWriter
from limbeck.data.rankings_file import BATCH_ROWS


def many(count: int, size: int = 37):
    random = np.random.default_rng(7)
    for number in range(count):
        length = number % size  # some lists are empty
        ids = [f"d{id_}" for id_ in random.choice(5000, length, replace=False)]
        yield RankedList(f"q{number}", ids, random.integers(0, 20, length) / 4)


def test_many_lists_come_back_lazily_and_at_random(tmp_path):
    path = tmp_path / "r.arrow"
    with RankingsWriter(path, "bm25") as writer:
        for ranked in many(3000):
            writer.add(ranked)
        assert len(writer) == 3000
        assert not path.exists()
    rankings = Rankings.open(path)
    expected = [ranked.ordered() for ranked in many(3000)]
    assert len(rankings) == sum(map(len, expected)) > 5 * BATCH_ROWS
    assert all(one == other for one, other in zip(rankings, expected, strict=True))
    for number in np.random.default_rng(1).integers(0, 3000, 100).tolist():
        assert rankings.list_for(f"q{number}") == expected[number]
    in_memory = Rankings.from_lists(many(3000), "bm25")
    assert rankings.fingerprint == in_memory.fingerprint
    mixed = [f"q{number}" for number in np.random.default_rng(2).permutation(3000).tolist()[:300]]
    part = rankings.for_queries(mixed).top(5)
    assert part.to_dict() == in_memory.for_queries(mixed).top(5).to_dict()
    assert part.fingerprint == in_memory.for_queries(mixed).top(5).fingerprint
    part.write(tmp_path / "part.arrow")
    assert Rankings.open(tmp_path / "part.arrow").to_dict() == part.to_dict()
    scores = np.arange(len(rankings), dtype=float)
    assert rankings.rescored(scores, "t").fingerprint == in_memory.rescored(scores, "t").fingerprint


def test_a_list_longer_than_a_batch_stays_whole(tmp_path):
    long = RankedList("long", [f"d{i:06}" for i in range(3 * BATCH_ROWS)], -np.arange(3.0 * BATCH_ROWS))
    short = RankedList("short", ["a"], np.ones(1))
    with RankingsWriter(tmp_path / "r.arrow", "s") as writer:
        writer.add(short)
        writer.add(long)
    rankings = Rankings.open(tmp_path / "r.arrow")
    assert list(rankings) == [short, long]
    rankings.write(tmp_path / "again.arrow")
    assert list(Rankings.open(tmp_path / "again.arrow")) == [short, long]
    assert rankings.top(2).scores.tolist() == [1.0, 0.0, -1.0]


def test_other_programs_can_read_the_file(tmp_path):
    Rankings.from_dict({"q1": {"a": 1.0, "b": 2.0}}, "bm25").write(tmp_path / "r.arrow")
    assert pyarrow.feather.read_table(str(tmp_path / "r.arrow")).to_pylist() == [
        {"query_id": "q1", "passage_id": "b", "score": 2.0, "source": "bm25"},
        {"query_id": "q1", "passage_id": "a", "score": 1.0, "source": "bm25"},
    ]


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (RankedList("q", ["a"], np.array([np.nan])), "the score nan"),
        (RankedList("q", ["a", "a"], np.ones(2)), "ranks passage 'a' twice"),
        (RankedList("q0", ["a"], np.ones(1)), "query 'q0' has two lists"),
        (RankedList("q", ["\ud83d"], np.ones(1)), "half of a surrogate pair"),
    ],
)
def test_nothing_half_written_stays(tmp_path, refused, bad, match):
    path = tmp_path / "r.arrow"
    Rankings.from_dict({"old": {"a": 1.0}}, "s").write(path)
    before = path.read_bytes()

    def write() -> None:
        with RankingsWriter(path, "s") as writer:
            for ranked in many(1000):
                writer.add(ranked)
            writer.add(bad)

    refused(write, match)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_other_files_are_refused(tmp_path, refused):
    path = tmp_path / "r.arrow"
    refused(lambda: Rankings.open(path), "no such file", name="r.arrow")
    path.write_text("q1 Q0 d1 1 0.5 run\n")
    refused(lambda: Rankings.open(path), "not a table that Limbeck wrote", name="r.arrow")


MEASURE = """
import sys, tracemalloc
import pyarrow as pa
from limbeck.data import Rankings

path = sys.argv[1]
Rankings.open(path)
tracemalloc.start()
arrow = pa.total_allocated_bytes()
rankings = Rankings.open(path)
rows = highest = 0
for ranked in rankings:
    rows += len(ranked)
    highest = max(highest, pa.total_allocated_bytes() - arrow)
print(rows, tracemalloc.get_traced_memory()[1], highest)
"""


def test_going_through_a_file_needs_memory_for_one_batch(tmp_path):
    path = tmp_path / "r.arrow"
    ids = [f"a-long-passage-id-{i}" for i in range(1000)]
    with RankingsWriter(path, "s") as writer:
        for number in range(800):
            writer.add(RankedList(f"q{number}", ids, -np.arange(1000.0)))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], check=True, capture_output=True, text=True
    )
    rows, python_bytes, arrow_bytes = map(int, done.stdout.split())
    assert rows == 800_000  # 40 MB as plain columns
    assert python_bytes < 1_000_000
    assert arrow_bytes < 4_000_000
