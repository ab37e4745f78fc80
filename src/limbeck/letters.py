"""What text needs beyond the standard library: letters of all scripts in patterns, Unicode, single lines."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

#: `\w` leaves out combining marks, without which words of Hindi, Tamil or vocalised Arabic fall apart.
COMBINING_MARKS = "".join(
    chr(code) for code in range(0x300, 0x1D00) if unicodedata.category(chr(code)) in {"Mn", "Mc"}
)


def is_unicode(text: str) -> bool:
    r"""Whether a text can be written as UTF-8: JSON and undecoded bytes can leave half of a surrogate pair.

    >>> is_unicode("caf\u00e9"), is_unicode("\ud83d")
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def single_lines(texts: Iterable[str]) -> list[str]:
    r"""Texts with white space made single spaces; empty and repeated ones are left out.

    >>> single_lines(["who\n barks", " ", "who barks"])
    ['who barks']
    """
    return list(dict.fromkeys(filter(None, (" ".join(text.split()) for text in texts))))
