"""Combining marks and Unicode, by hand."""

from __future__ import annotations

import re

import pytest

from limbeck.letters import COMBINING_MARKS, is_unicode, single_lines


def test_marks_of_scripts_belong_to_their_words():
    words = re.compile(rf"[\w{COMBINING_MARKS}]+")
    assert words.findall("हिन्दी में, தமிழ்! مُحَمَّد") == ["हिन्दी", "में", "தமிழ்", "مُحَمَّد"]


@pytest.mark.parametrize(
    ("text", "sound"),
    [("", True), ("café 漢字 😀", True), ("\ud83d\ude00", False), ("\udcff", False), ("a\ud800", False)],
)
def test_halves_of_surrogate_pairs_are_no_unicode(text: str, sound: bool):
    assert is_unicode(text) is sound


def test_single_lines_of_texts_that_differ():
    assert single_lines([" who\n\tbarks ", "", " \n", "who barks", "Who barks"]) == ["who barks", "Who barks"]
