from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.errors import InputError
from limbeck.mining.tokenisation import (
    SNOWBALL,
    character_ngrams,
    languages,
    query_tokenizer_for,
    tokenizer_for,
    words,
)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Running, runs!", ["running", "runs"]),
        ("read_all", ["read", "all", "read_all"]),
        ("readLines", ["read", "lines", "readlines"]),
        ("HTTPServer2", ["http", "server", "2", "httpserver2"]),
        ("os.path.join", ["os", "path", "join"]),
        ("__init__", ["init"]),
        ("_", []),
        ("utf8 H2O Paris", ["utf8", "h2o", "paris"]),
        ("Straße ÉCOLE", ["straße", "école"]),
        ("ＡＢＣ ﬁle", ["abc", "file"]),  # compatibility forms are folded
        ("हिन्दी में", ["हिन्दी", "में"]),  # combining marks belong to the word
        ("", []),
    ],
)
def test_words(text, tokens):
    assert words(text) == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("北京大学", ["北", "京", "大", "学", "北京", "京大", "大学"]),
        ("水。火", ["水", "火"]),
        ("用Python的list_dir", ["用", "python", "的", "list", "dir", "list_dir"]),
        ("ガード", ["ガ", "ー", "ド", "ガー", "ード"]),
        ("ｶﾞ", ["ガ"]),
        ("한국", ["한", "국", "한국"]),
    ],
)
def test_character_ngrams(text, tokens):
    assert character_ngrams(text) == tokens


def test_english_stems():
    assert tokenizer_for("en")("Running threads") == ["run", "thread"]
    assert tokenizer_for("english")("Running threads") == ["run", "thread"]
    assert tokenizer_for("none")("Running threads") == ["running", "threads"]


@pytest.mark.parametrize("language", [*SNOWBALL, "zh", "ja", "ko", "none"])
def test_every_language_gives_tokens(language):
    assert tokenizer_for(language)("Wort слово 词 언어 शब्द")


def test_queries_lose_stop_words_unless_nothing_is_left():
    tokenize = query_tokenizer_for("en")
    assert tokenize("how do I read a file") == ["read", "file"]
    assert tokenize("to be or not to be") == ["to", "be", "or", "not", "to", "be"]
    assert query_tokenizer_for("zh")("我的书") == tokenizer_for("zh")("我的书")


def test_word_segmentation():
    pytest.importorskip("jieba")
    pytest.importorskip("janome")
    assert {"出租人", "出租", "变更"} <= set(tokenizer_for("zh-jieba")("出租人可以变更。"))
    assert tokenizer_for("ja-janome")("東京へ行きました。")[:3] == ["東京", "へ", "行く"]


@pytest.mark.parametrize(
    ("language", "module", "extra"),
    [("zh-jieba", "jieba", "chinese"), ("ja-janome", "janome.tokenizer", "japanese")],
)
def test_a_missing_package_names_its_extra(monkeypatch, language, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"limbeck\[{extra}\]"):
        tokenizer_for(language)


def test_an_unknown_language_names_the_known_ones():
    with pytest.raises(InputError, match=r"'tlh'.*zh-jieba"):
        tokenizer_for("tlh")
    assert languages() == sorted(languages())


@given(st.text(max_size=40))
def test_any_text_gives_tokens_without_space(text):
    for language in ("en", "zh", "none"):
        tokens = tokenizer_for(language)(text)
        assert all(token and not token.isspace() for token in tokens)
        assert bool(query_tokenizer_for(language)(text)) == bool(tokens)
