from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data import SentencePair, SentencePairs
from limbeck.data.formats import read_pairs, write_pairs
from limbeck.errors import InputError

HEADER = b"text1\ttext2\tlabel\n"
texts = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=5)


def test_a_column_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("text1\ttext1\ttext2\tlabel\na\tb\tc\t1\n")
    with pytest.raises(InputError, match=r"pairs\.tsv:1: there are several columns 'text1'"):
        read_pairs(path)


def test_tsv_with_other_columns_and_quotes_that_mean_nothing(tmp_path):
    (tmp_path / "p.tsv").write_bytes(
        b'\xef\xbb\xbfgenre\tlabel\ttext1\ttext2\r\nnews\t4.5\t"A\tB"\r\n'.replace(b"\r", b"")
    )
    assert list(read_pairs(tmp_path / "p.tsv")) == [SentencePair('"A', 'B"', 4.5)]


def test_fields_by_other_names(tmp_path):
    (tmp_path / "p.tsv").write_text("a\tb\trelation\tscore\nx\ty\tneutral\t3\n")
    assert list(read_pairs(tmp_path / "p.tsv", fields=("b", "a", "relation"))) == [
        SentencePair("y", "x", "neutral")
    ]
    assert list(read_pairs(tmp_path / "p.tsv", fields=("a", "b", "score"))) == [SentencePair("x", "y", 3.0)]


def test_blanks_around_a_class_are_no_part_of_it(tmp_path):
    (tmp_path / "p.tsv").write_text("text1\ttext2\tlabel\nx\ty\tneutral \nx\tz\tneutral\n")
    assert read_pairs(tmp_path / "p.tsv").classes == ["neutral"]
    (tmp_path / "p.jsonl").write_text('{"text1": "x", "text2": "y", "label": " neutral"}\n')
    assert read_pairs(tmp_path / "p.jsonl").classes == ["neutral"]


def test_json_lines(tmp_path):
    (tmp_path / "p.txt").write_bytes(
        gzip.compress(
            b'{"text1": "x", "text2": "y", "label": 1, "m": []}\n{"text1": "u", "text2": "v", "label": 0.5}',
            mtime=0,
        )
    )
    assert list(read_pairs(tmp_path / "p.txt")) == [SentencePair("x", "y", 1.0), SentencePair("u", "v", 0.5)]


@settings(max_examples=30, deadline=None)
@given(
    pairs=st.lists(st.tuples(texts, texts, st.floats(allow_nan=False, allow_infinity=False)), min_size=1)
    | st.lists(st.tuples(texts, texts, st.sampled_from(["entailment", "中立"])), min_size=1),
    name=st.sampled_from(["p.tsv", "p.tsv.gz", "p.jsonl", "p.jsonl.gz"]),
)
def test_what_is_written_is_read(tmp_path_factory, pairs, name):
    path = tmp_path_factory.mktemp("pairs") / name
    held = SentencePairs.of(SentencePair(*pair) for pair in pairs)
    write_pairs(held, path)
    assert list(read_pairs(path)) == list(held)


@pytest.mark.parametrize(
    ("content", "line", "match"),
    [
        (b"text1\ttext2\nx\ty\n", 1, "no column 'label' .found: 'text1', 'text2'"),
        (HEADER + b"x\ty\n", 2, "the line has 2 columns"),
        (HEADER + b"x\t \t1\n", 2, "text2 is empty"),
        (HEADER + b"x\ty\t \n", 2, "the label is empty"),
        (HEADER + b"x\ty\t1\nx\ty\tnan\n", 3, "the label is nan"),
        (HEADER + b"x\ty\tinf\n", 2, "the label is inf"),
        (HEADER + b"x\ty\t1\n\nx\ty\tmaybe\n", 4, "the label is 'maybe'"),
        (HEADER + b"x\ty\t\n", 2, "the label is empty"),
        (HEADER, None, "nothing but a header"),
        (b"", None, "the file is empty"),
        (b"\n", None, "only blank lines"),
        (HEADER + b"x\t\xff\t1\n", 2, "not UTF-8"),
        (gzip.compress(HEADER + b"x\ty\t1\n", mtime=0)[:-5], None, "truncated"),
        (b'{"text1": "x", "text2": "y", "label": "a"}\n{"text1": "x"}\n', 2, "no key 'text2'"),
        (
            b'{"text1": "x", "text2": "y", "label": "a"}\n{"text1": "x", "text2": "y", "label": 1}\n',
            2,
            "a number, the",
        ),
        (b'{"text1": "x", "text2": "y", "label": NaN}\n', 1, "the label is nan"),
        (b'{"text1": "x", "text2": "y", "label": 1' + b"0" * 400 + b"}\n", 1, "finite number"),
        (b'{"text1": "x", "text2": "\\ud800", "label": 1}\n', 1, "text2 has half of a surrogate pair"),
        (b'{"text1": "x", "text2": "y", "label": null}\n', 1, "'label' is None"),
        (b'{"text1": "x", "text2": "y"}\n', 1, "'label' is missing"),
        (b'{"text1": "x", "text2": 5, "label": 1}\n', 1, "'text2' is 5"),
    ],
)
def test_bad_files_are_refused(tmp_path, refused, content, line, match):
    (tmp_path / "p.tsv").write_bytes(content)
    refused(lambda: read_pairs(tmp_path / "p.tsv"), match, name="p.tsv", line=line)


def test_tabs_cannot_be_written_as_tsv(tmp_path, refused):
    pairs = SentencePairs.of([SentencePair("a\tb", "c", 1.0)])
    refused(lambda: write_pairs(pairs, tmp_path / "p.tsv"), "text1 holds '.t'")
    write_pairs(pairs, tmp_path / "p.jsonl")
    assert list(read_pairs(tmp_path / "p.jsonl")) == list(pairs)
    assert [path.name for path in tmp_path.iterdir()] == ["p.jsonl"]
