"""The manifest: which files make up the present state of an identifier index.

A state is a list of parts, each with the file that remembers its deletions. Part and deletion files are
never changed; a new state is a new manifest, renamed over the old one. The manifest carries a checksum of
itself, and of each file the checksum in its header, which covers the content.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from limbeck.errors import InputError
from limbeck.files import atomic_path, require_file, require_folder

NAME = "manifest.json"
FORMAT = "limbeck identifier index"
VERSION = 1

_EXPECTED = "the manifest as an identifier index wrote it"
_REMEDY = "restore the folder from a copy, or build the index again"
_CHECKSUM_AT = slice(16, 24)  # in the head of a part or deletion file


@dataclass(frozen=True, slots=True)
class DeletionsEntry:
    """The file with the deletions of a part.

    Args:
        file: its name in the index's folder.
        checksum: the one in its header, in hexadecimal.
        tokens: in deleted passages.
        passages: deleted.
    """

    file: str
    checksum: str
    tokens: int
    passages: int


@dataclass(frozen=True, slots=True)
class PartEntry:
    """A part of the index.

    Args:
        file: its name in the index's folder.
        checksum: the one in its header, in hexadecimal.
        tokens: in it, deleted ones too.
        passages: in it, deleted ones too.
        deletions: what is deleted of it; None when nothing is.
    """

    file: str
    checksum: str
    tokens: int
    passages: int
    deletions: DeletionsEntry | None = None

    @property
    def live_tokens(self) -> int:
        """Tokens in passages that are not deleted."""
        return self.tokens - (self.deletions.tokens if self.deletions else 0)

    @property
    def live_passages(self) -> int:
        """Passages that are not deleted."""
        return self.passages - (self.deletions.passages if self.deletions else 0)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A state of an index.

    Args:
        generation: counts the states, from 1.
        next_number: the number that the next passage gets.
        part_tokens: a part is not made larger than this.
        parts: in the order of their passages' numbers, whose ranges do not overlap.
    """

    generation: int
    next_number: int
    part_tokens: int
    parts: tuple[PartEntry, ...] = field(default=())

    @property
    def checksum(self) -> str:
        """Of everything in it."""
        content = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:32]

    @property
    def files(self) -> set[str]:
        """The names of all files that the state is made of."""
        deletions = {part.deletions.file for part in self.parts if part.deletions}
        return {NAME, *(part.file for part in self.parts), *deletions}

    def write(self, folder: Path) -> None:
        """Make this the state of the index in `folder`: one rename, after the content is on the disk."""
        content = {"format": FORMAT, "version": VERSION, "checksum": self.checksum, **asdict(self)}
        with atomic_path(folder / NAME) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The present state of the index in `folder`.

        Raises:
            InputError: no such folder, no index in it, a manifest of another version, foreign or damaged.
        """
        require_folder(folder, expected="the folder of an identifier index")
        path = require_file(folder / NAME, expected="the manifest of an identifier index")
        try:
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise InputError(f"the manifest cannot be read ({error.strerror})", path=path) from None
        except (ValueError, RecursionError):
            raise InputError(
                "the manifest is not JSON", path=path, expected=_EXPECTED, remedy=_REMEDY
            ) from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError("this is not the manifest of an identifier index", path=path, expected=_EXPECTED)
        if content.get("version") != VERSION:
            raise InputError(
                f"the index has version {content.get('version')}",
                path=path,
                expected=f"version {VERSION}",
                remedy="build the index again with this version of limbeck",
            )
        try:
            manifest = cls._parse(content)
        except (KeyError, TypeError, ValueError, AttributeError):
            manifest = None
        if manifest is None or manifest.checksum != content.get("checksum"):
            raise InputError("the manifest is damaged", path=path, expected=_EXPECTED, remedy=_REMEDY)
        return manifest

    @classmethod
    def _parse(cls, content: dict[str, Any]) -> Manifest:
        def part(entry: dict[str, Any]) -> PartEntry:
            deletions = entry.pop("deletions")
            return PartEntry(**entry, deletions=None if deletions is None else DeletionsEntry(**deletions))

        parts = tuple(part(entry) for entry in content["parts"])
        return cls(content["generation"], content["next_number"], content["part_tokens"], parts)


def file_checksum(path: Path) -> str:
    """The checksum in the header of a part or deletion file, which covers the checksums of its content.

    Raises:
        InputError: there is no such file.
    """
    path = require_file(path, expected="a file that the manifest names")
    with path.open("rb") as file:
        return file.read(_CHECKSUM_AT.stop)[_CHECKSUM_AT].hex()
