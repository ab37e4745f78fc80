"""The views of a passage (title, body, pseudo-queries) in one token sequence, told apart by markers.

Each view has its own start and end marker, so that a title is generated from its start marker to its end
marker while a substring of the body may start anywhere (Li et al., "Multiview Identifiers Enhanced Generative
Retrieval", 2023).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from limbeck.errors import InputError
from limbeck.indexes.fm_index.ragged import LAST_TOKEN, token_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limbeck.indexes.fm_index.ragged import Tokens


@dataclass(frozen=True, slots=True)
class View:
    """One way to see a passage.

    Args:
        name: "title", "body", "pseudo-query".
        start: the token id that stands before it; no text contains it.
        end: the token id that stands after it; another one.

    Raises:
        InputError: a marker is no token id, or both are the same.
    """

    name: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if not (0 <= self.start <= LAST_TOKEN and 0 <= self.end <= LAST_TOKEN):
            raise InputError(
                f"a marker of the view '{self.name}' is no token id ({self.start}, {self.end})",
                expected="integers between 0 and 4294967295",
            )
        if self.start == self.end:
            raise InputError(
                f"the view '{self.name}' starts and ends with the same token id, {self.start}",
                expected="two different markers",
            )


def join_views(views: Iterable[tuple[View, Tokens]]) -> NDArray[np.uint32]:
    """One passage out of its views: start marker, tokens, end marker, for each in turn.

    Args:
        views: each view with the token ids of its text; a view may come several times (pseudo-queries).

    Returns:
        (tokens,) uint32.

    Raises:
        InputError: two views share a marker, or a text contains a marker of any of these views.

    Example:
        >>> title, body = View("title", 100, 101), View("body", 102, 103)
        >>> join_views([(title, [7, 8]), (body, [9])]).tolist()
        [100, 7, 8, 101, 102, 9, 103]
    """
    pairs = [(view, token_array(tokens, name=f"the view '{view.name}'")) for view, tokens in views]
    markers = _markers(view for view, _ in pairs)
    known = np.fromiter(markers, np.uint32, len(markers))
    pieces = []
    for view, tokens in pairs:
        inside = np.flatnonzero(np.isin(tokens, known))
        if len(inside):
            token = int(tokens[inside[0]])
            owner = markers[token].name
            raise InputError(
                f"the text of the view '{view.name}' contains token {token}, a marker of '{owner}'",
                expected="markers that no text contains",
                remedy="give the views token ids that the tokenizer makes of no text",
            )
        pieces += [np.array([view.start], np.uint32), tokens, np.array([view.end], np.uint32)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.uint32)


def _markers(views: Iterable[View]) -> dict[int, View]:
    """Whose each marker is."""
    markers: dict[int, View] = {}
    for view in dict.fromkeys(views):
        for marker in (view.start, view.end):
            if marker in markers:
                raise InputError(
                    f"the views '{markers[marker].name}' and '{view.name}' share the marker {marker}",
                    expected="markers that belong to one view",
                )
            markers[marker] = view
    return markers
