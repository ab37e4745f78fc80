"""The views of a passage: what of it can be generated to name it, and what is learnt from it.

Published: titles, substrings of the body, and pseudo-queries (Li et al., "Multiview Identifiers Enhanced
Generative Retrieval", ACL 2023, section 3.1). Leave views out of the list, or add your own: anything with the
attributes of `IdentifierView` is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from limbeck.data import Passage
from limbeck.errors import InputError
from limbeck.students.generative.pseudo_queries import PseudoQueries
from limbeck.students.generative.scoring import PSEUDO_QUERY_BONUS, PSEUDO_QUERY_CAP

#: How much likelier a body span is drawn that holds the whole query than one that holds nothing of it.
QUERY_LIFT = 20.0


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """What decoding and scoring need to know of a view.

    Args:
        name: also names its markers.
        whole: True where an identifier is generated from the start marker to the end marker (a title), False
            where it may start and stop anywhere (a substring).
        max_length: tokens of an identifier, markers not counted.
        bonus: is added to an identifier's log-probability before it is scored.
        cap: with a bonus, the sum is at most this.

    Raises:
        InputError: no name, or no length.
    """

    name: str
    whole: bool
    max_length: int
    bonus: float = 0.0
    cap: float = 0.0

    def __post_init__(self) -> None:
        if not self.name or self.max_length < 1:
            raise InputError(
                f"a view is called '{self.name}' and has identifiers of {self.max_length} tokens",
                expected="a name, and a length of at least 1",
            )


class IdentifierView(Protocol):
    """One way to see a passage."""

    @property
    def settings(self) -> ViewSettings:
        """How its identifiers are generated and scored."""
        ...

    def texts(self, passage: Passage) -> list[str]:
        """The texts of a passage in this view: none, one, or several."""
        ...

    def targets(
        self,
        texts: Sequence[Sequence[int]],
        query: Sequence[int],
        importance: Mapping[int, float],
        random: np.random.Generator,
    ) -> list[list[int]]:
        """What the model learns to generate for a query that the passage answers.

        Args:
            texts: what `texts` gave, as tokens.
            query: its tokens.
            importance: of tokens, not negative: how rare they are. A token that is not in it has 0.
            random: for what is drawn.

        Returns:
            Non-empty token sequences, without markers.
        """
        ...


@dataclass(frozen=True, slots=True)
class TitleView:
    """The passage's title, in one piece.

    A longer title than `max_length` is in the index, but cannot be generated, and is not learnt.
    """

    max_length: int = 20
    name: str = "title"

    @property
    def settings(self) -> ViewSettings:
        """See `IdentifierView`."""
        return ViewSettings(self.name, True, self.max_length)

    def texts(self, passage: Passage) -> list[str]:
        """The title, if there is one."""
        return [passage.title] if passage.title.strip() else []

    def targets(
        self,
        texts: Sequence[Sequence[int]],
        query: Sequence[int],
        importance: Mapping[int, float],
        random: np.random.Generator,
    ) -> list[list[int]]:
        """The title."""
        return [list(text) for text in texts if 0 < len(text) <= self.max_length]


@dataclass(frozen=True, slots=True)
class BodyView:
    """Substrings of the passage's text, of up to `max_length` tokens.

    Args:
        max_length: tokens.
        spans: how many are learnt for a query and a passage.
        query_lift: see `span_weights`.
        name: of the view.
    """

    max_length: int = 10
    spans: int = 10
    query_lift: float = QUERY_LIFT
    name: str = "body"

    @property
    def settings(self) -> ViewSettings:
        """See `IdentifierView`."""
        return ViewSettings(self.name, False, self.max_length)

    def texts(self, passage: Passage) -> list[str]:
        """The text."""
        return [passage.text]

    def targets(
        self,
        texts: Sequence[Sequence[int]],
        query: Sequence[int],
        importance: Mapping[int, float],
        random: np.random.Generator,
    ) -> list[list[int]]:
        """Spans of full length, drawn without replacement with the weights of `span_weights`.

        They stand in the order in which they were drawn. A text that is shorter than a span is one itself.
        """
        drawn = []
        for text in texts:
            if not text:
                continue
            weights = span_weights(text, query, importance, self.max_length, self.query_lift)
            count = min(self.spans, len(weights))
            starts = random.choice(len(weights), count, replace=False, p=weights / weights.sum())
            drawn += [list(text[start : start + self.max_length]) for start in starts.tolist()]
        return drawn


@dataclass(frozen=True, slots=True)
class PseudoQueryView:
    """Questions that the passage answers, each in one piece.

    Args:
        questions: of the passages.
        max_length: tokens; a longer question is in the index, but cannot be generated, and is not learnt.
        learnt: how many are learnt for a query and a passage, at most.
        bonus: see `ViewSettings`.
        cap: see `ViewSettings`.
        name: of the view.
    """

    questions: PseudoQueries
    max_length: int = 20
    learnt: int = 5
    bonus: float = PSEUDO_QUERY_BONUS
    cap: float = PSEUDO_QUERY_CAP
    name: str = "pseudo-query"

    @property
    def settings(self) -> ViewSettings:
        """See `IdentifierView`."""
        return ViewSettings(self.name, True, self.max_length, self.bonus, self.cap)

    def texts(self, passage: Passage) -> list[str]:
        """The passage's questions."""
        return self.questions.of(passage.id)

    def targets(
        self,
        texts: Sequence[Sequence[int]],
        query: Sequence[int],
        importance: Mapping[int, float],
        random: np.random.Generator,
    ) -> list[list[int]]:
        """Some of the questions, but never the query itself: to copy it teaches nothing."""
        own = list(query)
        others = [list(text) for text in texts if 0 < len(text) <= self.max_length and list(text) != own]
        chosen = random.permutation(len(others))[: self.learnt]
        return [others[place] for place in chosen.tolist()]


def span_weights(
    text: Sequence[int],
    query: Sequence[int],
    importance: Mapping[int, float],
    length: int,
    lift: float = QUERY_LIFT,
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How likely each span of a text is drawn, up to a factor.

    `1 + (lift - 1) · share`, where `share` is the part of the query that the span holds: the importance of
    the query's distinct tokens in it over that of all of them (0 where these have none). So every span can be
    drawn, and rare words of the query count more than common ones.

    Args:
        text: its tokens, at least one.
        query: its tokens.
        importance: of tokens.
        length: of a span.
        lift: how much likelier a span is drawn that holds the whole query.

    Returns:
        (spans,), one for each place where a span of full length starts; one where the text is no longer.

    Example:
        >>> span_weights([5, 6, 7, 6], [6, 7], {6: 1.0, 7: 3.0}, 2, lift=9.0).tolist()
        [3.0, 9.0, 9.0]
    """
    asked = {token: importance.get(token, 0.0) for token in query}
    total = sum(asked.values())
    places = max(len(text) - length + 1, 1)
    if total <= 0:
        return np.ones(places)
    share = np.zeros(places)
    tokens = np.asarray(text)
    for token, value in asked.items():
        # A span starts at `s` and holds the token when the token's next place at or after `s` is inside.
        found = np.flatnonzero(tokens == token)
        if len(found) and value:
            next_place = np.append(found, len(text) + length)[np.searchsorted(found, np.arange(places))]
            share[next_place < np.arange(places) + length] += value / total
    return 1 + (lift - 1) * share


def view_settings(views: Sequence[IdentifierView]) -> list[ViewSettings]:
    """The settings of views.

    Raises:
        InputError: there is no view, or two have one name.
    """
    settings = [view.settings for view in views]
    names = [view.name for view in settings]
    if not names or len(set(names)) < len(names):
        raise InputError(f"the views are {names}", expected="at least one, each with a name of its own")
    return settings
