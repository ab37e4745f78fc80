"""What Passages and Queries have in common."""

from __future__ import annotations

import pickle
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data import Judgements, Passage, Passages, Queries, Query, id_index, tables
from limbeck.data.tables import index_path
from limbeck.files import Records

ids = st.lists(
    st.text(min_size=1, max_size=4).filter(lambda text: text.isprintable()), min_size=1, unique=True
)
filled = st.text(min_size=1, max_size=8).filter(lambda text: text.strip() and text.isprintable())


def numbered(count: int) -> list[Passage]:
    return [Passage(f"d{i}", f"text {i}", f"title {i}" if i % 2 else "") for i in range(count)]


@settings(max_examples=40, deadline=None)
@given(data=st.data(), names=ids)
def test_what_is_written_is_read(tmp_path_factory, data, names):
    passages = [
        Passage(name, data.draw(filled), data.draw(st.text(max_size=3).filter(str.isprintable)))
        for name in names
    ]
    path = tmp_path_factory.mktemp("table") / "passages.arrow"
    with mock.patch.object(tables, "BATCH_ROWS", 3):  # so that a small table has many batches
        table = Passages.write(path, iter(passages))
    assert list(table) == passages
    assert len(table) == len(passages)
    assert [table[row] for row in range(len(table))] == passages
    order = data.draw(st.lists(st.integers(0, len(names) - 1)))
    wanted = [names[row] for row in order]
    assert table.rows(wanted).tolist() == order
    assert table.ids(order) == wanted
    assert table.contents(order) == [passages[row].content for row in order]
    strange = data.draw(st.lists(st.text(max_size=4)))
    assert table.contains(strange).tolist() == [name in names for name in strange]


def test_reading(tmp_path):
    passages = numbered(10_000)
    table = Passages.write(tmp_path / "passages.arrow", passages)
    assert table[-1] == passages[-1]
    assert table.id(4096) == "d4096"
    assert table.contents([9999, 0]) == ["title 9999. text 9999", "text 0"]
    assert table.contents() == [passage.content for passage in passages]
    assert table.ids() == [passage.id for passage in passages]
    batches = list(table.id_batches())
    assert len(batches) == 3
    assert [id_ for batch in batches for id_ in batch] == table.ids()
    assert [len(batch) for batch in table.batches(4000)] == [4000, 4000, 2000]
    assert [passage for batch in table.batches(7) for passage in batch] == passages
    assert "d7" in table
    assert "d10000" not in table
    assert 7 not in table
    with pytest.raises(IndexError):
        table[10_000]
    with pytest.raises(IndexError):
        table.ids([-1])
    with pytest.raises(ValueError, match="at least 1"):
        next(table.batches(0))


def test_queries(tmp_path):
    queries = Queries.write(tmp_path / "queries.arrow", [Query("q1", "one"), Query("q2", "two")])
    assert queries.text("q2") == "two"
    assert queries.texts(["q2", "q1", "q2"]) == ["two", "one", "two"]
    assert queries.texts() == ["one", "two"]
    assert list(queries) == [Query("q1", "one"), Query("q2", "two")]


def test_an_unknown_id_is_named(tmp_path, refused):
    queries = Queries.write(tmp_path / "queries.arrow", [Query("q1", "one")])
    refused(lambda: queries.text("q9"), "no query 'q9'", name="queries.arrow")
    refused(lambda: queries.rows(["q1", "q8", "q9"]), "no query 'q8' here .nor 1 more", name="queries.arrow")


def test_ids_that_share_a_hash_are_told_apart(tmp_path, monkeypatch, refused):
    def few_hashes(names):
        return np.array([len(name) for name in names], np.uint64)

    monkeypatch.setattr(tables, "hash_ids", few_hashes)
    monkeypatch.setattr(id_index, "hash_ids", few_hashes)
    passages = numbered(120)
    table = Passages.write(tmp_path / "passages.arrow", passages)
    assert table.rows([passage.id for passage in passages]).tolist() == list(range(120))
    assert table.contains(["x1", "d1", "d999", "longer"]).tolist() == [False, True, False, False]
    twice = [*passages, Passage("d50", "again"), Passage("d7", "again")]
    refused(lambda: Passages.write(tmp_path / "p.arrow", twice), "'d50' appears twice .records 51 and 121")


def test_the_fingerprint_is_of_the_content(tmp_path, monkeypatch):
    passages = numbered(50)
    first = Passages.write(tmp_path / "a.arrow", passages).fingerprint
    monkeypatch.setattr(tables, "BATCH_ROWS", 7)
    assert Passages.write(tmp_path / "b.arrow", passages).fingerprint == first
    assert Passages.open(tmp_path / "b.arrow").fingerprint == first
    assert Passages.write(tmp_path / "c.arrow", passages[::-1]).fingerprint != first
    moved = [Passage("d", "bc", "a")], [Passage("d", "c", "ab")]  # the same characters, cut elsewhere
    assert len({Passages.write(tmp_path / "d.arrow", each).fingerprint for each in moved}) == 2


def test_the_index_is_made_anew_when_missing_or_of_another_table(tmp_path):
    path = tmp_path / "passages.arrow"
    Passages.write(path, numbered(100))
    index_path(path).unlink()
    assert Passages.open(path).rows(["d99"]).tolist() == [99]
    assert index_path(path).exists()
    Passages.write(tmp_path / "other.arrow", numbered(3)[::-1])
    index_path(tmp_path / "other.arrow").replace(index_path(path))
    assert Passages.open(path).rows(["d0"]).tolist() == [0]
    index_path(path).write_bytes(b"damaged")
    assert Passages.open(path).rows(["d50"]).tolist() == [50]


def test_a_table_goes_to_another_process_by_its_path(tmp_path):
    table = Passages.write(tmp_path / "passages.arrow", numbered(2000))
    sent = pickle.dumps(table)
    assert len(sent) < 1000
    assert pickle.loads(sent)[1999] == table[1999]


def test_writing_again_replaces_and_the_open_table_stays(tmp_path):
    before = Passages.write(tmp_path / "passages.arrow", numbered(5))
    Passages.write(tmp_path / "passages.arrow", [Passage("new", "text")])
    assert len(before) == 5
    assert before[4].id == "d4"
    assert Passages.open(tmp_path / "passages.arrow").ids() == ["new"]


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([], "no passage at all"),
        ([Passage("", "text")], "empty id .record 1"),
        ([Passage("a", "text"), Passage("b", "")], "the text of passage 'b' is empty .record 2"),
        ([Passage("a", " \n\u3000")], "the text of passage 'a' is empty"),
        ([Passage("a", None)], "the text of passage 'a' is None"),
        ([Passage("a", "text", 3)], "the title of passage 'a' is 3"),
        ([Passage("a", "text"), Passage("b", "text", None)], "the title of passage 'b' is None .record 2"),
        ([Passage(7, "text")], "the id of passage 7 is 7"),
        (
            [Passage("a", "text"), Passage("b", "\ud83d")],
            "the text of passage 'b' has half of a surrogate pair .record 2",
        ),
        ([Passage("a", "x"), Passage("b", "y"), Passage("a", "z")], "'a' appears twice .records 1 and 3"),
    ],
)
def test_bad_rows_are_refused_and_nothing_is_left(tmp_path, refused, rows, match):
    Passages.write(tmp_path / "passages.arrow", numbered(2))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    refused(lambda: Passages.write(tmp_path / "passages.arrow", rows), match)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_bad_rows_of_a_file_are_named_by_line(tmp_path, refused):
    source = tmp_path / "source.txt"
    records = Records(source, lambda line: Query(*line.split(",")))
    source.write_text("a,x\n\nb,y\na,z\n")
    error = refused(
        lambda: Queries.write(tmp_path / "q.arrow", records), "'a' appears twice", name="source.txt", line=4
    )
    assert "first at line 1" in str(error)
    source.write_text("a,x\n\nb, \n")
    refused(lambda: Queries.write(tmp_path / "q.arrow", records), "'b' is empty", name="source.txt", line=3)
    assert [path.name for path in tmp_path.iterdir()] == ["source.txt"]


def test_other_files_are_refused(tmp_path, refused):
    path = tmp_path / "x.arrow"
    refused(lambda: Passages.open(path), "no such file", name="x.arrow")
    refused(lambda: Passages.open(tmp_path), "this is a folder")
    path.write_bytes(b"ARROW1 not really")
    refused(lambda: Passages.open(path), "not a table that Limbeck wrote", name="x.arrow")
    path.write_bytes(b"")
    refused(lambda: Passages.open(path), "not a table that Limbeck wrote", name="x.arrow")
    Judgements([("q", "d", 1)]).write(path)
    refused(lambda: Passages.open(path), "a table of judgements", name="x.arrow")
    Passages.write(path, numbered(1000))
    path.write_bytes(path.read_bytes()[:-100])
    refused(lambda: Passages.open(path), "not a table", name="x.arrow")


MEASURE = """
import sys, tracemalloc
import pyarrow as pa
from limbeck.data import Passages

path = sys.argv[1]
Passages.open(path)  # what is loaded once, such as code, is not of the table
tracemalloc.start()
arrow = pa.total_allocated_bytes()
table = Passages.open(path)
assert len(table) == 300_000
sample = [table[row].content for row in range(0, 300_000, 3_000)]
assert len(table.contents(table.rows([f"d{i}" for i in range(0, 300_000, 1_000)]))) == 300
passed = sum(1 for _ in zip(table.batches(100), range(50)))
print(tracemalloc.get_traced_memory()[1], pa.total_allocated_bytes() - arrow)
"""


def test_a_large_table_does_not_sit_in_memory(tmp_path):
    path = tmp_path / "passages.arrow"
    Passages.write(path, (Passage(f"d{i}", f"{i} " + "words " * 20) for i in range(300_000)))
    assert path.stat().st_size > 35_000_000
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], check=True, capture_output=True, text=True
    )
    python_bytes, arrow_bytes = map(int, done.stdout.split())
    assert python_bytes < 6_000_000  # one batch as Python objects, 4,096 rows
    assert arrow_bytes < 1_000_000
