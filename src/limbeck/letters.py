"""What text needs beyond the standard library: combining marks in patterns of words, and what Unicode is."""

from __future__ import annotations

import unicodedata

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
