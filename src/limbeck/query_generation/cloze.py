"""Questions without a model: a sentence of a passage asks for the rest of it (the Inverse Cloze Task).

Lee, Chang and Toutanova, "Latent Retrieval for Weakly Supervised Open Domain Question Answering", ACL 2019,
arXiv 1906.00300. A passage that still held the sentence would be found by its very words, so whoever learns
from such a question, or is measured by it, must see the passage without it: `without_sentences`.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from limbeck.errors import InputError
from limbeck.texts import count_words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from limbeck.data import Passage

_STOPS, _CLOSING = "[.!?…]", "[\"'”’)\\]]"
#: A sentence: up to a full stop that white space follows, an ideographic one, or the end of a line. A run of
#: full stops is looked at once, from its beginning: from each of its places it would take quadratic time.
_SENTENCE = re.compile(
    rf"{_STOPS}{{2,}}+{_CLOSING}*+(?=\s)"
    rf"|\S.*?(?:(?<!{_STOPS}){_STOPS}++{_CLOSING}*+(?=\s)|[。！？]+[”’」』）]*|(?=[\r\n])|\Z)",
    re.DOTALL,
)


class ClozeWriter:
    """Takes sentences of a passage for questions: at most half of its different ones, so that text is left.

    Args:
        min_words: of a sentence that can stand as a question.
        max_words: likewise.
        seed: of the draw among the sentences.

    Raises:
        InputError: no sentence can have so many words.

    Example:
        >>> text = "Cats sleep for most of the day. At night they hunt mice."
        >>> ClozeWriter().write([Passage("d1", text)], 3)
        [['At night they hunt mice.']]
    """

    def __init__(self, *, min_words: int = 4, max_words: int = 64, seed: int = 0) -> None:
        if not 1 <= min_words <= max_words:
            raise InputError(
                f"min_words is {min_words} and max_words is {max_words}",
                expected="1 or more, and the second no less than the first",
            )
        self.min_words = min_words
        self.max_words = max_words
        self.seed = seed

    def settings(self) -> dict[str, Any]:
        """What the questions depend on besides the passages."""
        return {
            "writer": "cloze",
            "min_words": self.min_words,
            "max_words": self.max_words,
            "seed": self.seed,
        }

    def write(self, passages: Sequence[Passage], count: int) -> list[list[str]]:
        """(passages,) lists of up to `count` sentences each, as single lines, in the order drawn."""
        return [self._drawn(passage.text, count) for passage in passages]

    def _drawn(self, text: str, count: int) -> list[str]:
        found = list(dict.fromkeys(_single_line(sentence) for _, _, sentence in sentences(text)))
        usable = [one for one in found if self.min_words <= count_words(one) <= self.max_words]
        usable.sort(key=lambda one: hashlib.blake2b(f"{self.seed}\0{text}\0{one}".encode()).digest())
        return usable[: min(count, len(found) // 2)]


def sentences(text: str) -> Iterator[tuple[int, int, str]]:
    """The sentences of a text with the characters at which they start and end.

    Example:
        >>> [sentence for _, _, sentence in sentences("It rains. Why? 下雨了。好的。")]
        ['It rains.', 'Why?', '下雨了。', '好的。']
    """
    for match in _SENTENCE.finditer(text):
        yield match.start(), match.end(), match.group()


def without_sentences(text: str, taken: Collection[str]) -> str:
    """A text without the sentences that were taken for questions, wherever they stand in it.

    Args:
        text: of a passage.
        taken: sentences as `ClozeWriter.write` gives them.

    Example:
        >>> without_sentences("It rains. Dogs bark.  It rains.", {"It rains."})
        'Dogs bark.'
    """
    if not taken:
        return text
    kept, end = [], 0
    for start, stop, sentence in sentences(text):
        if _single_line(sentence) in taken:
            kept.append(text[end:start])
            end = stop
    kept.append(text[end:])
    return "".join(kept).strip()


def _single_line(text: str) -> str:
    return " ".join(text.split())
