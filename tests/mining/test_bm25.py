from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data import Passage, Passages
from limbeck.errors import InputError
from limbeck.mining import BM25


def brute_force(passages, query, k1, b):
    """BM25 by its definition, over words split at spaces."""
    documents = [text.split() for text in passages]
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for token in query.split():
            df = sum(token in other for other in documents)
            tf = document.count(token)
            if df:
                idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
                score += idf * tf / (tf + k1 * (1 - b + b * len(document) / mean))
        scores.append(score)
    return np.array(scores)


def test_title_and_text_are_searched_and_stems_match(passages):
    rows, scores = BM25.build(passages).search(["which dog barks"], 10)[0]
    assert passages.ids(rows) == ["d4", "d2"]  # d4: dog three times and bark; d2 each once, but shorter
    assert scores[0] > scores[1] > 0


def test_by_hand(tmp_path):
    table = Passages.write(tmp_path / "p.arrow", [Passage("a", "red red blue"), Passage("b", "green")])
    bm25 = BM25.build(table, "none", k1=1.0, b=0.5)
    # N = 2, df(red) = 1: idf = ln(1 + 1.5/1.5) = ln 2. tf 2, length 3, mean 2: 2 / (2 + 0.5 + 0.5 * 1.5)
    assert bm25.score("red", ["a", "b"]) == pytest.approx([math.log(2) * 2 / 3.25, 0])
    assert bm25.attainable("red green red purple") == pytest.approx(3 * math.log(2))


words = st.lists(st.sampled_from(["red", "green", "blue", "cat", "dog"]), min_size=1, max_size=8).map(
    " ".join
)


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(words, min_size=1, max_size=12), query=words, depth=st.integers(1, 15))
def test_agrees_with_the_definition(tmp_path_factory, texts, query, depth):
    path = tmp_path_factory.mktemp("bm25") / "p.arrow"
    table = Passages.write(path, (Passage(f"d{row}", text) for row, text in enumerate(texts)))
    bm25 = BM25.build(table, "none", k1=1.2, b=0.75)
    expected = brute_force(texts, query, 1.2, 0.75)
    assert bm25.score_rows(query, np.arange(len(texts))) == pytest.approx(expected, abs=1e-5)
    assert bm25.score_texts([(query, text) for text in texts]) == pytest.approx(expected, abs=1e-9)
    assert expected.max() <= bm25.attainable(query)
    rows, scores = bm25.search([query], depth)[0]
    assert scores.tolist() == bm25.score_rows(query, rows).tolist()
    assert len(rows) == min(depth, np.count_nonzero(expected))
    assert sorted(scores, reverse=True) == scores.tolist()
    assert scores == pytest.approx(np.sort(expected)[::-1][: len(scores)], abs=1e-5)
    assert all(rows[at] < rows[at + 1] for at in range(len(rows) - 1) if scores[at] == scores[at + 1])


def test_nothing_shared_nothing_found(passages):
    found = BM25.build(passages).search(["zebra", "", "cats"], 100)
    assert [len(rows) for rows, _ in found] == [0, 0, 2]


def test_alone_or_together_is_the_same(passages):
    bm25 = BM25.build(passages)
    texts = ["cat", "dog", "the sea", "cat dog fish"]
    together = bm25.search(texts, 2)
    for text, (rows, scores) in zip(texts, together, strict=True):
        alone_rows, alone_scores = bm25.search([text], 2)[0]
        assert alone_rows.tolist() == rows.tolist()
        assert alone_scores.tolist() == scores.tolist()


def test_saved_and_loaded(passages, tmp_path):
    bm25 = BM25.build(passages, "en", k1=0.9, b=0.4)
    bm25.save(tmp_path / "index")
    bm25.save(tmp_path / "index")  # again, over the first
    loaded = BM25.load(tmp_path / "index", passages)
    assert loaded.fingerprint == bm25.fingerprint
    for (rows, scores), (other_rows, other_scores) in zip(
        bm25.search(["cats and dogs", "sea"], 3), loaded.search(["cats and dogs", "sea"], 3), strict=True
    ):
        assert rows.tolist() == other_rows.tolist()
        assert scores.tolist() == other_scores.tolist()
    assert loaded.score_text("cat", "a cat") == bm25.score_text("cat", "a cat")
    assert {path.name for path in tmp_path.iterdir()} >= {"index"}
    assert not list(tmp_path.glob(".index*"))


def test_an_index_of_other_passages_is_refused(passages, tmp_path):
    BM25.build(passages).save(tmp_path / "index")
    others = Passages.write(tmp_path / "others.arrow", [Passage("x", "something else")])
    with pytest.raises(InputError, match="other passages"):
        BM25.load(tmp_path / "index", others)
    with pytest.raises(InputError, match=r"BM25\.save"):
        BM25.load(tmp_path, passages)


def test_bad_settings(passages, tmp_path):
    with pytest.raises(InputError, match="k1 > 0"):
        BM25.build(passages, k1=0)
    with pytest.raises(InputError, match="depth is 0"):
        BM25.build(passages).search(["cat"], 0)
    silent = Passages.write(tmp_path / "silent.arrow", [Passage("a", "?!")])
    with pytest.raises(InputError, match="single token"):
        BM25.build(silent)


def test_real_chinese(shared_datasets: Path, tmp_path):
    """Characters and bigrams find what a lay legal question asks for among 1,445 statutes."""
    with gzip.open(shared_datasets / "stard_zh" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = map(json.loads, lines)
        table = Passages.write(
            tmp_path / "p.arrow", (Passage(row["_id"], row["text"], row["title"]) for row in rows)
        )
    found, _ = BM25.build(table, "zh").search(["个体工商户可以起字号吗？"], 10)[0]
    assert "st0" in table.ids(found)
