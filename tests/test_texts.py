"""Words of several languages, Unicode and single lines, by hand."""

from __future__ import annotations

import pytest

from limbeck.texts import count_words, is_unicode, plain, single_lines, words


def test_words_have_no_case_and_no_punctuation():
    assert words("Who's THERE -- at 5_p.m.?") == ["who", "s", "there", "at", "5", "p", "m"]
    assert words("猫在where？") == ["猫", "在", "where"]
    assert plain("  Ｗｈｏ\n barks?! ") == "who barks"
    assert count_words("…?!") == 0


def test_marks_that_combine_are_part_of_their_word():
    assert words("हिन्दी भाषा क्या है?") == ["हिन्दी", "भाषा", "क्या", "है"]
    assert count_words("كَيْفَ حَالُك") == 2
    assert plain("राम की किताब") != plain("राम का किताब")
    assert words("กิน猫ば") == ["ก", "ิ", "น", "猫", "ば"]


@pytest.mark.parametrize(
    ("text", "sound"),
    [("", True), ("café 漢字 😀", True), ("\ud83d\ude00", False), ("\udcff", False), ("a\ud800", False)],
)
def test_halves_of_surrogate_pairs_are_no_unicode(text: str, sound: bool):
    assert is_unicode(text) is sound


def test_single_lines_of_texts_that_differ():
    assert single_lines([" who\n\tbarks ", "", " \n", "who barks", "Who barks"]) == ["who barks", "Who barks"]
