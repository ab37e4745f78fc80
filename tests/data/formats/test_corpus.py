"""A corpus in one file."""

from __future__ import annotations

import gzip

import pytest

from limbeck.data import Passage
from limbeck.data.formats.corpus import corpus_passages
from limbeck.errors import InputError


@pytest.mark.parametrize("header", ["_id\ttext", "id\ttitle\ttext", "DocID\tText"])
def test_a_line_of_names_is_no_passage(tmp_path, header):
    path = tmp_path / "corpus.tsv"
    path.write_text(f"{header}\n1\tone\n")
    with pytest.raises(InputError, match=r"corpus\.tsv:1: this line names columns"):
        list(corpus_passages(path))


def test_the_formats_of_a_corpus(tmp_path):
    path = tmp_path / "corpus"
    expected = [Passage("d1", "Cats.", "A"), Passage("2", "Dogs.")]
    for lines in (
        '{"_id": "d1", "title": "A", "text": "Cats."}\n{"_id": 2, "text": "Dogs."}\n',
        '\n{"id": "d1", "title": "A", "text": "Cats."}\n\n{"id": "2", "title": null, "text": "Dogs."}\n',
        "d1\tA\tCats.\n2\tDogs.\n",
    ):
        path.write_text(lines)
        assert list(corpus_passages(path)) == expected
        path.write_bytes(gzip.compress(lines.encode()))
        assert list(corpus_passages(path)) == expected


def test_lines_that_are_no_passage(tmp_path, refused):
    path = tmp_path / "corpus.tsv"
    for text, match, line in (
        ("d1\tA\n\na\tb\tc\td\n", "the line has 4 columns", 3),
        ("one\n", "the line has 1 column", 1),
        ('{"text": "x"}\n', "there is no key 'id'", 1),
        ('{"_id": "x"}\n', "there is no key 'text'", 1),
        ('{"_id": "x", "text": "y"}\nd1\tA\n', "not valid JSON", 2),
    ):
        path.write_text(text)
        refused(lambda: list(corpus_passages(path)), match, name="corpus.tsv", line=line)
    path.write_text("")
    refused(lambda: corpus_passages(path), "the file is empty", name="corpus.tsv")
