"""Texts as tokens, and back to characters: what a model's tokenizer means to identifiers.

Design facts:
- The markers of the views are special tokens of their own. Texts are tokenised with special tokens split like
  any other characters, so that no text can contain a marker, not even one that spells it out.
- Tokenizers that write a word at the start of a text unlike the same word after a space (those of BART or
  GPT-2) get a space in front, so that a title's first word is the same token as in the body.
- Character offsets come from the tokenizer's own alignment, which fast tokenizers alone have.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AddedToken, AutoTokenizer

from limbeck.backbones import locate_backbone
from limbeck.errors import InputError
from limbeck.indexes.fm_index import View

#: Chinese and Japanese are written without spaces: one before the text would be a token of its own.
_UNSPACED = re.compile(r"[\s⺀-ヿ㇀-鿿豈-﫿︰-﹏＀-｠\U00020000-\U0003ffff]")
_PROBE = "Limbeck's naïve probe, no. 17: 蒸馏器 – <s> </s> [CLS]"


class Vocabulary:
    """A model's tokenizer, as identifiers need it.

    Args:
        tokenizer: of the `transformers` library, a fast one.

    Raises:
        InputError: it is not a fast one.

    Example:
        >>> vocabulary = Vocabulary(AutoTokenizer.from_pretrained("facebook/bart-large"))  # doctest: +SKIP
        >>> vocabulary.encode(["Webbed toes"])  # doctest: +SKIP
        [[7471, 6960, 17300]]
        >>> vocabulary.spans("Webbed toes")  # doctest: +SKIP
        [(0, 3), (3, 6), (7, 11)]
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise InputError(
                f"the tokenizer {type(tokenizer).__name__} does not know which characters a token stands for",
                expected="a fast tokenizer (one of the `tokenizers` library)",
            )
        self.tokenizer = tokenizer
        bare, spaced = self._ids(["a", " a"])
        self._space_first = bare != spaced and len(bare) == len(spaced)
        whole = tokenizer("a").input_ids
        at = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
        #: Special tokens that the model wants before and after a text.
        self.before: list[int] = whole[:at]
        self.after: list[int] = whole[at + len(bare) :]

    @classmethod
    def load(cls, name: str | Path) -> Vocabulary:
        """The tokenizer of a model that `load_generator` takes, without the model.

        Raises:
            InputError: no tokenizer can be loaded from there, or it is not a fast one.
        """
        try:
            tokenizer = AutoTokenizer.from_pretrained(locate_backbone(str(name)))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"no tokenizer can be loaded from '{name}': {(str(error).splitlines() or [''])[0]}",
                expected="a model of the transformers library that generates, or an encoder",
            ) from error
        return cls(tokenizer)

    def __len__(self) -> int:
        return len(self.tokenizer)

    @property
    def unknown(self) -> int | None:
        """The token that stands for what the tokenizer cannot write, if it has one."""
        token: int | None = self.tokenizer.unk_token_id
        return token

    @property
    def padding(self) -> int:
        """The token that fills up rows; where the tokenizer has none, its end token, or token 0."""
        for token in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        return 0

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of texts, without special ones.

        Args:
            texts: any, also empty ones.

        Returns:
            (texts,) lists of token ids.
        """
        return self._ids([self._prefix(text) + text for text in texts])

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each token that `encode` makes of a text, its characters [start, end).

        A character that takes several tokens belongs to each of them. White space before a word is no part
        of it.
        """
        prefix = self._prefix(text)
        encoded = self._encoded([prefix + text], return_offsets_mapping=True)
        spans = []
        for start, end in encoded["offset_mapping"][0]:
            first, last = max(start - len(prefix), 0), max(end - len(prefix), 0)
            while first < last and text[first].isspace():
                first += 1
            spans.append((first, last))
        return spans

    def decode(self, tokens: Sequence[int]) -> str:
        """Tokens as text; markers and other special tokens are left out."""
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text.strip()

    def add_markers(self, names: Sequence[str]) -> dict[str, View]:
        """The markers of views, by their names; those that the tokenizer has not yet are added to it.

        The model's embeddings have to be widened to `len(self)` afterwards.
        """
        added = [AddedToken(text, special=True, normalized=False) for n in names for text in _texts(n)]
        self.tokenizer.add_tokens(added, special_tokens=True)
        return self.markers(names)

    def markers(self, names: Sequence[str]) -> dict[str, View]:
        """The markers of views, by their names.

        Raises:
            InputError: the tokenizer has none for a view.
        """
        known = self.tokenizer.get_added_vocab()
        views = {}
        for name in names:
            start, end = (known.get(text) for text in _texts(name))
            if start is None or end is None:
                raise InputError(
                    f"the model's tokenizer has no markers for the view '{name}'",
                    expected="a model that was loaded for these views",
                    remedy="name the view in `load_generator(..., views=[...])` and train again",
                )
            views[name] = View(name, start, end)
        return views

    @property
    def fingerprint(self) -> str:
        """A hash that tells tokenizers apart which read texts differently, 16 hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=8)
        for token, number in sorted(self.tokenizer.get_vocab().items()):
            digest.update(f"{number} {token}\n".encode())
        digest.update(str(self.encode([_PROBE, _PROBE.upper()])).encode())
        return digest.hexdigest()

    def _prefix(self, text: str) -> str:
        return " " if self._space_first and text and not _UNSPACED.match(text) else ""

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self._encoded(texts)["input_ids"] if texts else []
        return ids

    def _encoded(self, texts: Sequence[str], **options: bool) -> Any:
        return self.tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,
            truncation=False,
            padding=False,
            verbose=False,
            **options,
        )


def _texts(name: str) -> tuple[str, str]:
    return f"<|{name}|>", f"<|/{name}|>"
