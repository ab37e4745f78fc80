"""What regular expressions of words need beyond those of the standard library."""

from __future__ import annotations

import unicodedata

#: `\w` leaves out combining marks, without which words of Hindi, Tamil or vocalised Arabic fall apart.
COMBINING_MARKS = "".join(
    chr(code) for code in range(0x300, 0x1D00) if unicodedata.category(chr(code)) in {"Mn", "Mc"}
)
