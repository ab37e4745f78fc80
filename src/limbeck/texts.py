"""Texts of any language: their words, whether they are Unicode, single lines of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

#: `\w` leaves out combining marks, without which words of Hindi, Tamil or vocalised Arabic fall apart.
COMBINING_MARKS = "".join(
    chr(code) for code in range(0x300, 0x1D00) if unicodedata.category(chr(code)) in {"Mn", "Mc"}
)
#: A Chinese character or a Japanese or Thai letter stands for a word: no space tells where one ends.
_WORD = re.compile(
    r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
    rf"|[^\W_](?:[^\W_]|[{COMBINING_MARKS}])*"
)


def words(text: str) -> list[str]:
    """The words of a text without case and punctuation; where no spaces are written, its characters.

    Example:
        >>> words("Who's there?"), words("猫在哪里？")
        (['who', 's', 'there'], ['猫', '在', '哪', '里'])
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def count_words(text: str) -> int:
    """How many words a text has; where no spaces are written, how many characters."""
    return len(words(text))


def plain(text: str) -> str:
    """A text as it is compared with others: its words, with single spaces."""
    return " ".join(words(text))


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
