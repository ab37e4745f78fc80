"""The chat templates of tokenizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from jinja2 import TemplateError

from limbeck.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

Read = TypeVar("Read")
#: What the code of a template can end in, and a tokenizer whose templates have names and no default.
_FAULTS = (TemplateError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError)


def in_chat(tokenizer: Any, prompt: str, read: Callable[[str], Read], *, remedy: str | None = None) -> Read:
    r"""A prompt as a user's turn, up to where the assistant's answer begins.

    Args:
        tokenizer: of `transformers`, with a chat template.
        prompt: with its placeholders.
        read: makes of the rendered text what is wanted, or an InputError where a placeholder is lost.
        remedy: what a user can do about a template that does not suit.

    Raises:
        InputError: the template cannot hold the prompt, such as one that wants a turn of the system's first,
            or `read` refuses what comes of it.

    Example:
        >>> in_chat(tokenizer, "{passage}\nWhat does it answer?", check_prompt)
        '<|im_start|>user\n{passage}\nWhat does it answer?<|im_end|>\n<|im_start|>assistant\n'
    """
    try:
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,  # read by the templates of models that reason before they answer
        )
    except _FAULTS as error:
        raise InputError(
            f"the tokenizer's chat template cannot hold the prompt ({error})", remedy=remedy
        ) from error
    try:
        return read(rendered)
    except InputError as error:
        raise InputError(f"in the tokenizer's chat template, {error.problem}", remedy=remedy) from error
