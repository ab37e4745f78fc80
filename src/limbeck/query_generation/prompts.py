"""What a language model is told, to write a question that a passage answers; and how its answer is read."""

from __future__ import annotations

import re

from limbeck.errors import InputError

#: Where the passage stands in a prompt.
PLACEHOLDER = "{passage}"
#: By language.
PROMPTS = {
    "en": (
        "Write one short question that somebody might type into a search engine and that the following "
        "passage answers. Do not mention the passage. Answer with the question alone.\n\n"
        f"Passage: {PLACEHOLDER}\n\nQuestion:"
    ),
    "zh": (
        "请根据下面的段落写一个简短的问题：用户可能会用它来搜索，而且段落中有它的答案。不要提到段落本身，只输出问题。\n\n"
        f"段落：{PLACEHOLDER}\n\n问题："
    ),
}
#: What models put before a question in spite of the prompt: a number, a dash, the word itself.
_LEAD = re.compile(r"^(?:(?:\d+[.)、](?!\d)|[-*•])\s*|(?:question|query|问题)\s*[:：]\s*)+", re.IGNORECASE)
_QUOTES = "\"'“”‘’「」*"


def check_prompt(prompt: str) -> str:
    """The prompt, if the passage has its one place in it.

    Raises:
        InputError: it has none, or several.
    """
    if prompt.count(PLACEHOLDER) != 1:
        raise InputError(
            f"the prompt has {prompt.count(PLACEHOLDER)} placeholders {PLACEHOLDER}",
            expected="one, where the passage goes",
        )
    return prompt


def filled(prompt: str, passage: str) -> str:
    """The prompt with a passage, which may hold braces itself."""
    before, after = prompt.split(PLACEHOLDER)
    return f"{before}{passage}{after}"


def question_in(answer: str) -> str:
    """The question that an answer gives: its first line with words, without a number or quotes around it.

    Example:
        >>> question_in('1. "How long do cats sleep?"')
        'How long do cats sleep?'
    """
    for line in answer.splitlines():
        question = _LEAD.sub("", line.strip().strip(_QUOTES).strip()).strip(_QUOTES).strip()
        if question:
            return question
    return ""
