"""A passage as the index holds it: its views' texts as tokens between markers, and the way back."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limbeck.indexes.fm_index import View, join_views
from limbeck.students.generative.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class ViewText:
    """A text of a passage in one of its views.

    Attributes:
        view: name of the view.
        text: as the passage has it.
    """

    view: str
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """Where in a passage an identifier stands.

    Attributes:
        view: in which of the passage's views.
        part: in which of the texts that the passage has in this view, from 0.
        start: its first character in that text.
        end: the character behind its last.
    """

    view: str
    part: int
    start: int
    end: int


def passage_tokens(
    vocabulary: Vocabulary, markers: Mapping[str, View], passages: Sequence[Sequence[ViewText]]
) -> list[NDArray[np.uint32]]:
    """The tokens of passages as they are indexed: start marker, text, end marker for each text in turn.

    Args:
        vocabulary: the model's.
        markers: of the views, by name.
        passages: the texts of each.
    """
    encoded = iter(vocabulary.encode([text.text for texts in passages for text in texts]))
    return [join_views((markers[text.view], next(encoded)) for text in texts) for texts in passages]


class PassageLayout:
    """Finds the characters that tokens of an indexed passage stand for.

    Args:
        vocabulary: the one with which the passage was indexed.
        texts: those with which it was indexed.

    Example:
        >>> layout = PassageLayout(vocabulary, [ViewText("title", "Webbed toes")])  # doctest: +SKIP
        >>> layout.span(0, 5)  # both markers and the three tokens between  # doctest: +SKIP
        Span(view='title', part=0, start=0, end=11)
    """

    def __init__(self, vocabulary: Vocabulary, texts: Sequence[ViewText]) -> None:
        self.texts = list(texts)
        self._spans = [vocabulary.spans(text.text) for text in texts]
        self._starts: list[int] = []  # the place of each text's start marker
        self._parts: list[int] = []
        at = 0
        seen: dict[str, int] = {}
        for text, spans in zip(texts, self._spans, strict=True):
            self._starts.append(at)
            at += len(spans) + 2
            self._parts.append(seen.get(text.view, 0))
            seen[text.view] = self._parts[-1] + 1

    def span(self, position: int, length: int) -> Span:
        """The characters of `length` tokens from `position` on.

        Args:
            position: of the first token in the passage; it may be a start marker.
            length: at least 1. The tokens lie in one text; the markers at its ends have no characters.
        """
        place = bisect_right(self._starts, position) - 1
        spans = self._spans[place]
        first = position - self._starts[place] - 1
        inside = [span for span in spans[max(first, 0) : max(first + length, 0)] if span[0] < span[1]]
        start = min((span[0] for span in inside), default=0)
        end = max((span[1] for span in inside), default=0)
        return Span(self.texts[place].view, self._parts[place], start, end)

    def text(self, span: Span) -> str:
        """What stands there."""
        return self.source(span)[span.start : span.end]

    def source(self, span: Span) -> str:
        """The whole text in which a span lies."""
        texts = (text.text for text in self.texts if text.view == span.view)
        return list(texts)[span.part]
