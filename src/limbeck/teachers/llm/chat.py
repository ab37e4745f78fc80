"""The chat templates of tokenizers."""

from __future__ import annotations

from typing import Any

from jinja2 import TemplateError

from limbeck.errors import InputError


def in_chat(tokenizer: Any, text: str) -> str:
    r"""A text as a user's turn, up to where the assistant's answer begins.

    Args:
        tokenizer: of `transformers`, with a chat template.
        text: of the turn; placeholders in it stay.

    Raises:
        InputError: the template cannot hold it, such as one that wants a turn of the system's first.

    Example:
        >>> in_chat(tokenizer, "Who barks?")
        '<|im_start|>user\nWho barks?<|im_end|>\n<|im_start|>assistant\n'
    """
    try:
        rendered: str = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,  # read by the templates of models that reason before they answer
        )
    except TemplateError as error:
        raise InputError(f"the tokenizer's chat template cannot hold the prompt ({error})") from error
    return rendered
