"""The passages of a retriever, by their numbers in the index, with the texts of all their views.

Design facts:
- Passages come in *segments*, one for each time that some were added; a segment's passages have consecutive
  numbers. Nothing in a segment ever changes: which passages are deleted, the index knows.
- Titles and bodies are read from the passages. The texts of other views are stored beside them, so that no
  code of those views is needed to show what a search found.
- The manifest is written last. Passages that the index has and the manifest does not (a process died between
  the two) are not found, and go when the next change is made.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from limbeck.data import Passage, Passages
from limbeck.errors import InputError
from limbeck.files import atomic_folder, atomic_path
from limbeck.students.generative.identifiers import BodyView, IdentifierView, TitleView, ViewSettings
from limbeck.students.generative.layout import ViewText
from limbeck.students.generative.pseudo_queries import PseudoQueries, write_texts
from limbeck.texts import single_lines

MANIFEST, TEXTS = "retriever.json", "texts"
VERSION = 1
#: Where a view's texts are.
_TITLE, _BODY, STORED = "title", "body", "stored"


class _Texts(Protocol):
    """What of a view is written."""

    @property
    def settings(self) -> ViewSettings: ...

    def texts(self, passage: Passage) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class StoredView:
    """A view of the retriever's passages.

    Attributes:
        settings: of the view.
        source: `"title"` or `"body"` of the passage, or `"stored"` beside it.
    """

    settings: ViewSettings
    source: str

    @classmethod
    def of(cls, view: IdentifierView) -> StoredView:
        """The view as the store sees it."""
        source = _TITLE if isinstance(view, TitleView) else _BODY if isinstance(view, BodyView) else STORED
        return cls(view.settings, source)


@dataclass(frozen=True, slots=True)
class Segment:
    """Passages that were added together.

    Attributes:
        first: number of the first one.
        passages: with consecutive numbers from there.
        stored: texts of further views, by the view's name.
    """

    first: int
    passages: Passages
    stored: dict[str, PseudoQueries]


class PassageStore:
    """The passages of a retriever.

    Args:
        folder: of the retriever.
        views: in the order in which a passage's texts stand in the index.
        fingerprint: of the vocabulary with which they were indexed.
        segments: names of the segments' folders, with their first numbers.
    """

    def __init__(
        self, folder: Path, views: Sequence[StoredView], fingerprint: str, segments: Mapping[str, int]
    ) -> None:
        self.folder = folder
        self.views = list(views)
        self.fingerprint = fingerprint
        self._names = dict(segments)
        self.segments = [self._open(name, first) for name, first in segments.items()]
        self._firsts = np.array([segment.first for segment in self.segments], np.int64)
        self._ends = self._firsts + [len(segment.passages) for segment in self.segments]

    @classmethod
    def open(cls, folder: Path) -> PassageStore:
        """Read the manifest and map the passages into memory.

        Raises:
            InputError: there is no retriever, or its manifest cannot be read.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise InputError(
                "there is no generative retriever here",
                path=folder,
                expected="a folder that `GenerativeRetriever.build` has made",
            )
        try:
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if manifest["version"] != VERSION:
                raise InputError(
                    f"the retriever is of version {manifest['version']}",
                    path=path,
                    expected=f"version {VERSION}",
                    remedy="build it again",
                )
            views = [
                StoredView(ViewSettings(**view["settings"]), view["source"]) for view in manifest["views"]
            ]
            return cls(folder, views, manifest["vocabulary"], manifest["segments"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                "the manifest is damaged", path=path, remedy="build the retriever again"
            ) from error

    def save(self) -> None:
        """Write the manifest."""
        manifest = {
            "version": VERSION,
            "vocabulary": self.fingerprint,
            "views": [asdict(view) for view in self.views],
            "segments": self._names,
        }
        with atomic_path(self.folder / MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")

    def write_segment(self, passages: Iterable[Passage], views: Sequence[_Texts]) -> tuple[str, Segment]:
        """Write passages that the manifest does not name yet; their first number is still to be known.

        Args:
            passages: at least one.
            views: give the texts of stored views; a stored view that is not among them has none.

        Returns:
            The segment's name, and the segment, its first number being 0.
        """
        name = f"{len(self._names):08d}"
        folder = self.folder / TEXTS / name
        shutil.rmtree(folder, ignore_errors=True)  # of a process that died before it was named
        with atomic_folder(folder) as staging:
            table = Passages.write(staging / "passages.arrow", passages)
            stored = [place for place, view in enumerate(self.views) if view.source == STORED]
            for place in stored:
                for view in views:
                    if view.settings.name == self.views[place].settings.name:
                        _write_view(staging / f"view-{place}.arrow", view, table)
        return name, self._open(name, 0)

    def extended(self, name: str, first: int) -> PassageStore:
        """The store with a written segment whose first number is known now."""
        return PassageStore(self.folder, self.views, self.fingerprint, {**self._names, name: first})

    def texts(self, segment: Segment, passage: Passage) -> list[ViewText]:
        """The texts of a passage in the order in which they are indexed."""
        found = []
        for view in self.views:
            name = view.settings.name
            if view.source == _TITLE:
                texts = TitleView().texts(passage)
            elif view.source == _BODY:
                texts = BodyView().texts(passage)
            else:
                texts = segment.stored[name].of(passage.id) if name in segment.stored else []
            found += [ViewText(name, text) for text in texts]
        return found

    def all_texts(self, segment: Segment) -> Iterator[list[ViewText]]:
        """The texts of each passage of a segment."""
        return (self.texts(segment, passage) for passage in segment.passages)

    def known(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which numbers belong to passages of the store, (numbers,)."""
        owners = np.searchsorted(self._firsts, numbers, side="right") - 1
        inside: NDArray[np.bool_] = (owners >= 0) & (numbers < self._ends[owners])
        return inside

    def passage(self, number: int) -> tuple[Segment, Passage]:
        """The passage with a number, and its segment."""
        segment = self.segments[int(np.searchsorted(self._firsts, number, side="right")) - 1]
        return segment, segment.passages[number - segment.first]

    def ids(self, numbers: NDArray[np.int64]) -> list[str]:
        """The ids of passages with these numbers."""
        owners = np.searchsorted(self._firsts, numbers, side="right") - 1
        ids = [""] * len(numbers)
        for owner in np.unique(owners).tolist():
            places = np.flatnonzero(owners == owner)
            segment = self.segments[owner]
            for place, id_ in zip(places, segment.passages.ids(numbers[places] - segment.first), strict=True):
                ids[place] = id_
        return ids

    def numbers(self, ids: Sequence[str], live: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of passages by id, (ids,); -1 for one that does not exist or is deleted.

        Args:
            ids: of passages.
            live: the numbers of the passages that are not deleted, ascending.
        """
        found = np.full(len(ids), -1, np.int64)
        for segment in self.segments:
            places = np.flatnonzero(segment.passages.contains(ids))
            rows = segment.passages.rows([ids[place] for place in places.tolist()])
            numbers = rows + segment.first
            alive = np.isin(numbers, live)
            found[places[alive]] = numbers[alive]
        return found

    def _open(self, name: str, first: int) -> Segment:
        folder = self.folder / TEXTS / name
        stored = {
            view.settings.name: PseudoQueries.open(folder / f"view-{place}.arrow")
            for place, view in enumerate(self.views)
            if (folder / f"view-{place}.arrow").is_file()
        }
        return Segment(first, Passages.open(folder / "passages.arrow"), stored)


def _write_view(path: Path, view: _Texts, passages: Passages) -> None:
    """Writes a view's texts of passages; no file where no passage has any."""
    rows = ((passage.id, single_lines(view.texts(passage))) for passage in passages)
    filled = (row for row in rows if row[1])
    first = next(filled, None)
    if first is not None:
        write_texts(path, chain([first], filled))
