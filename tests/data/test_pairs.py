from __future__ import annotations

import pytest

from limbeck.data import SentencePair, SentencePairs

NUMBERS = [SentencePair("a", "b", 4.5), SentencePair("c", "d", 0.0)]
CLASSES = [SentencePair("a", "b", "yes"), SentencePair("c", "d", "no")]


@pytest.mark.parametrize(("pairs", "classes"), [(NUMBERS, []), (CLASSES, ["no", "yes"])])
def test_pairs(tmp_path, pairs, classes):
    held = SentencePairs.of(iter(pairs))
    held.write(tmp_path / "pairs.arrow")
    for one in (held, SentencePairs.open(tmp_path / "pairs.arrow")):
        assert list(one) == pairs
        assert len(one) == 2
        assert one[1] == one[-1] == pairs[1]
        assert one.classes == classes
        assert one.fingerprint == held.fingerprint
    with pytest.raises(IndexError):
        held[2]


@pytest.mark.parametrize(
    ("pairs", "match"),
    [
        ([], "no pair at all"),
        ([SentencePair("a", " ", 1.0)], "text2 is empty .record 1"),
        ([SentencePair("", "a", 1.0)], "text1 is empty"),
        ([NUMBERS[0], SentencePair("a", "b", float("nan"))], "the label is nan .record 2"),
        ([NUMBERS[0], SentencePair("a", "\ud800", 1.0)], "text2 has half of a surrogate pair .record 2"),
        ([SentencePair("a", "b", "\ud800")], "label has half of a surrogate pair"),
        ([NUMBERS[0], CLASSES[0]], "the label 'yes' is a class, the first one is not"),
        ([CLASSES[0], NUMBERS[0]], "the label 4.5 is a number, the first one is not"),
    ],
)
def test_bad_pairs_are_refused(refused, pairs, match):
    refused(lambda: SentencePairs.of(pairs), match)
