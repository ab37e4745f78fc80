"""What an LLM is asked about a pair: templates in English and Chinese, and the user's own.

A prompt has the query before the passage: what a model computes for the query then serves all its passages.

Source: D2LLM, arXiv 2406.17262, section 3.1, for the two tasks; the wording is Limbeck's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from limbeck.errors import InputError

Task = Literal["asymmetric", "symmetric"]
Language = Literal["en", "zh"]

QUERY = "{query}"
PASSAGE = "{passage}"


class PromptParts(NamedTuple):
    """The fixed texts of a prompt: before the query, between query and passage, and after the passage."""

    head: str
    middle: str
    tail: str


@dataclass(frozen=True)
class Prompt:
    r"""A question about a query and a passage that is answered with yes or no.

    Args:
        template: the question, with `{query}` and then `{passage}`, each once; other braces stand for
            themselves.
        yes: words that say yes; they are also looked up capitalised, in capitals and after a space.
        no: words that say no.

    Raises:
        InputError: a placeholder is missing, stands twice or in the wrong order, or there is no word of a
            side, or one of both sides.

    Example:
        >>> Prompt("Question: {query}\nText: {passage}\nIs the question answered?", ("yes",), ("no",)).parts
        PromptParts(head='Question: ', middle='\nText: ', tail='\nIs the question answered?')
    """

    template: str
    yes: tuple[str, ...]
    no: tuple[str, ...]

    def __post_init__(self) -> None:
        split_template(self.template)
        for side, words in (("yes", self.yes), ("no", self.no)):
            if not words or not all(word.strip() for word in words):
                raise InputError(
                    f"the prompt has no word for '{side}', or an empty one", expected="one word or several"
                )
        if both := sorted(
            {word.strip().lower() for word in self.yes} & {word.strip().lower() for word in self.no}
        ):
            raise InputError(f"the word '{both[0]}' of the prompt says both yes and no")

    @property
    def parts(self) -> PromptParts:
        """The template without its placeholders."""
        return split_template(self.template)


def split_template(template: str) -> PromptParts:
    """The fixed texts of a template.

    Raises:
        InputError: a placeholder is missing, stands twice, or the passage comes before the query.
    """
    for placeholder in (QUERY, PASSAGE):
        if (count := template.count(placeholder)) != 1:
            raise InputError(
                f"the template has the placeholder {placeholder} {count} times",
                expected=f"{QUERY} and {PASSAGE}, each once",
                remedy=f"write {placeholder} where that text belongs",
            )
    head, _, rest = template.partition(QUERY)
    if PASSAGE not in rest:
        raise InputError(
            f"the template has {PASSAGE} before {QUERY}",
            expected="the query first: what is computed for it then serves all its passages",
            remedy="turn the template round",
        )
    middle, _, tail = rest.partition(PASSAGE)
    return PromptParts(head, middle, tail)


#: The built-in prompts. All that can stand before the passage does, so that it is computed once a query.
PROMPTS: dict[tuple[Task, Language], Prompt] = {
    ("asymmetric", "en"): Prompt(
        "Does the passage answer the query? Reply with one word, yes or no.\n\n"
        "Query: {query}\n\nPassage: {passage}\n\nAnswer:",
        ("yes",),
        ("no",),
    ),
    ("symmetric", "en"): Prompt(
        "Do the two texts say the same thing? Reply with one word, yes or no.\n\n"
        "Text 1: {query}\n\nText 2: {passage}\n\nAnswer:",
        ("yes",),
        ("no",),
    ),
    ("asymmetric", "zh"): Prompt(
        "下面的文字能不能回答下面的问题？只回答“能”或“不能”。\n\n问题：{query}\n\n文字：{passage}\n\n答案：",
        ("能",),
        ("不能",),
    ),
    ("symmetric", "zh"): Prompt(
        "下面两段文字说的是不是同一件事？只回答“是”或“不是”。\n\n文字一：{query}\n\n文字二：{passage}\n\n答案：",
        ("是",),
        ("不是",),
    ),
}
