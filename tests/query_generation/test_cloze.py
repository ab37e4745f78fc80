"""Sentences as questions, and passages without them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from limbeck.data import Passage
from limbeck.query_generation.cloze import ClozeWriter, sentences, without_sentences

TEXT = 'Cats sleep all day. "Where do they sleep?" asked Mr.\nDogs bark at night! 猫在树上睡觉。狗在叫。End'


def test_where_sentences_end():
    assert [sentence for _, _, sentence in sentences(TEXT)] == [
        "Cats sleep all day.", '"Where do they sleep?"', "asked Mr.", "Dogs bark at night!", "猫在树上睡觉。",
        "狗在叫。", "End",
    ]  # fmt: skip
    assert all(TEXT[start:end] == sentence for start, end, sentence in sentences(TEXT))
    assert list(sentences(" \n ")) == []
    assert [one for _, _, one in sentences("version 3.11 is out. good")] == ["version 3.11 is out.", "good"]


def test_a_long_run_of_full_stops_is_read_once():
    """From each of its places again, as a table of contents has it, this would take an hour."""
    text = f"a{'.' * 200_000}b"
    assert [one for _, _, one in sentences(text)] == [text]
    stops = "." * 200_000
    assert [one for _, _, one in sentences(f"{stops} a. b")] == [stops, "a.", "b"]


@given(st.text("ab .!?\n。", max_size=60), st.integers(1, 5), st.integers(0, 3))
def test_what_is_asked_is_not_left_and_something_is(text, count, seed):
    (asked,) = ClozeWriter(min_words=1, seed=seed).write([Passage("d", text)], count)
    assert len(asked) == len(set(asked)) <= count
    left = without_sentences(text, set(asked))
    standing = [" ".join(sentence.split()) for _, _, sentence in sentences(text)]
    kept = [" ".join(sentence.split()) for _, _, sentence in sentences(left)]
    assert set(asked) <= set(standing)
    assert bool(kept) == bool(standing)
    assert len(set(standing)) >= 2 * len(asked)


def test_only_sentences_of_some_words_are_asked():
    text = "It is. A cat sat on the mat. Dogs. A dog sat on the cat and on the mat and on all."
    assert ClozeWriter(max_words=7).write([Passage("d", text)], 9) == [["A cat sat on the mat."]]
    assert ClozeWriter().write([Passage("d", "word"), Passage("e", "Only one sentence is here.")], 9) == [
        [],
        [],
    ]


def test_the_draw_depends_on_seed_and_passage_alone():
    text = " ".join(f"The cat number {at} was here." for at in range(20))
    one, other = Passage("one", text), Passage("other", text[5:])
    alone = ClozeWriter().write([one], 5)[0]
    assert ClozeWriter().write([other, one], 5)[1] == alone
    assert ClozeWriter().write([one], 3)[0] == alone[:3]
    assert ClozeWriter(seed=1).write([one], 5)[0] != alone


def test_a_sentence_goes_wherever_it_stands():
    assert without_sentences("It rains. Dogs bark.\nIt  rains. End", {"It rains."}) == "Dogs bark.\n End"
    assert without_sentences(" as it is ", ()) == " as it is "


def test_words_out_of_order(refused):
    refused(lambda: ClozeWriter(min_words=5, max_words=4), "min_words is 5 and max_words is 4")
