"""Texts as tokens and back to characters, with every sort of tokenizer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.errors import InputError
from limbeck.indexes.fm_index import View
from limbeck.students.generative.layout import PassageLayout, Span, ViewText, passage_tokens
from limbeck.students.generative.vocabulary import Vocabulary
from tests.students.generative.worlds import byte_level_tokenizer, metaspace_tokenizer
from tests.tiny_models import tiny_tokenizer

MAKERS = {"wordpiece": tiny_tokenizer, "byte-level": byte_level_tokenizer, "metaspace": metaspace_tokenizer}
NAMES = ["title", "body", "pseudo-query"]
VOCABULARIES = {name: Vocabulary(make()) for name, make in MAKERS.items()}
MARKERS = {name: vocabulary.add_markers(NAMES) for name, vocabulary in VOCABULARIES.items()}

every = pytest.mark.parametrize("kind", MAKERS)


def test_special_tokens_around_a_text_are_found():
    found = {name: (v.before, v.after) for name, v in VOCABULARIES.items()}
    assert found == {"wordpiece": ([2], [3]), "byte-level": ([0], [2]), "metaspace": ([], [1])}


def test_a_first_word_is_the_token_that_it_is_in_the_middle():
    vocabulary = VOCABULARIES["byte-level"]
    first, middle = vocabulary.encode(["cat", "a cat"])
    assert middle[-1:] == first
    assert vocabulary.spans("cat") == [(0, 3)]
    # A space before Chinese would be a token of its own.
    assert vocabulary.encode(["中"])[0] == vocabulary.tokenizer("中", add_special_tokens=False).input_ids


@every
@pytest.mark.parametrize(
    "text", ["<|title|>", "a <|/body|> cat <|pseudo-query|>", "[SEP] </s> <s> [CLS] <pad>", "<|title|"]
)
def test_no_text_contains_a_marker_or_special_token(kind, text):
    vocabulary = VOCABULARIES[kind]
    # A unigram model may spell its own `</s>` as the token of that name: it means nothing in an identifier.
    ids = set() if kind == "metaspace" else {*vocabulary.tokenizer.all_special_ids}
    special = ids - {vocabulary.unknown} | {
        token for view in MARKERS[kind].values() for token in (view.start, view.end)
    }
    (tokens,) = vocabulary.encode([text])
    assert tokens
    assert not special & set(tokens)
    # It is also what the index checks.
    passage_tokens(vocabulary, MARKERS[kind], [[ViewText("title", text), ViewText("body", text)]])


@every
def test_adding_markers_twice_adds_them_once(kind):
    vocabulary = VOCABULARIES[kind]
    size = len(vocabulary)
    assert vocabulary.add_markers(NAMES) == MARKERS[kind]
    assert len(vocabulary) == size
    tokens = {token for view in MARKERS[kind].values() for token in (view.start, view.end)}
    assert len(tokens) == 6


TEXT = st.text(st.sampled_from("abct  \n中国京é𝒳ﬁ.-🦊\u0301"), max_size=24)


@every
@given(text=TEXT)
def test_spans_cover_the_text_in_order(kind, text):
    vocabulary = VOCABULARIES[kind]
    spans = vocabulary.spans(text)
    assert len(spans) == len(vocabulary.encode([text])[0])
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    assert [start for start, end in spans if start < end] == sorted(s for s, e in spans if s < e)
    assert not any(text[start].isspace() for start, end in spans if start < end)
    covered = {place for start, end in spans for place in range(start, end)}
    # Combining marks may be normalised away.
    missed = [c for place, c in enumerate(text) if place not in covered and not c.isspace() and c != "\u0301"]
    assert not missed


@every
@pytest.mark.parametrize("word", ["中国", "cat", "京"])
def test_an_identifier_is_found_at_its_characters(kind, word):
    vocabulary = VOCABULARIES[kind]
    texts = [ViewText("title", f"a {word}"), ViewText("body", f"cab 中国京 {word}. tab")]
    (tokens,) = passage_tokens(vocabulary, MARKERS[kind], [texts])
    layout = PassageLayout(vocabulary, texts)
    (wanted,) = vocabulary.encode([f"a {word}"])
    own = wanted[len(vocabulary.encode(["a"])[0]) :]  # as it is written after a space
    rows = tokens.tolist()
    places = [at for at in range(len(rows)) if rows[at : at + len(own)] == own]
    found = [layout.span(place, len(own)) for place in places]
    last = texts[1].text.rindex(word)
    assert Span("title", 0, 2, 2 + len(word)) in found
    assert Span("body", 0, last, last + len(word)) in found
    if vocabulary.unknown not in own:  # which stands for many words
        assert {layout.text(span) for span in found} == {word}


@every
def test_whole_texts_and_their_parts(kind):
    vocabulary = VOCABULARIES[kind]
    texts = [
        ViewText("title", "A  cat"),
        ViewText("body", ""),
        ViewText("pseudo-query", "cat?"),
        ViewText("pseudo-query", "a 中国 cat"),
    ]
    (tokens,) = passage_tokens(vocabulary, MARKERS[kind], [texts])
    layout = PassageLayout(vocabulary, texts)
    at = 0
    for text, part in zip(texts, [0, 0, 0, 1], strict=True):
        length = len(vocabulary.encode([text.text])[0]) + 2
        view = MARKERS[kind][text.view]
        assert tokens[[at, at + length - 1]].tolist() == [view.start, view.end]
        span = layout.span(at, length)
        assert (span.view, span.part) == (text.view, part)
        assert layout.text(span) == text.text
        assert layout.source(span) == text.text
        at += length
    assert at == len(tokens)


def test_identifiers_read_as_they_were_written():
    vocabulary = VOCABULARIES["wordpiece"]
    view = MARKERS["wordpiece"]["title"]
    (tokens,) = vocabulary.encode(["the cat in paris"])
    assert vocabulary.decode([view.start, *tokens, view.end]) == "the cat in paris"


def test_fingerprints_tell_tokenizers_apart():
    assert len({v.fingerprint for v in VOCABULARIES.values()}) == 3
    plain = Vocabulary(tiny_tokenizer())
    assert plain.fingerprint != VOCABULARIES["wordpiece"].fingerprint
    plain.add_markers(NAMES)
    assert plain.fingerprint == VOCABULARIES["wordpiece"].fingerprint
    other = Vocabulary(tiny_tokenizer())
    other.tokenizer.backend_tokenizer.normalizer.lowercase = False
    other.add_markers(NAMES)
    assert other.fingerprint != plain.fingerprint


def test_bad_input():
    with pytest.raises(InputError, match="no markers for the view 'title'"):
        Vocabulary(tiny_tokenizer()).markers(["title"])
    with pytest.raises(InputError, match="fast tokenizer"):
        Vocabulary(type("Slow", (), {"is_fast": False})())
    assert View("title", 1, 2) not in MARKERS["wordpiece"].values()
