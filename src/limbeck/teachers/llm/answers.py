"""Which tokens say yes and which no, for any tokenizer.

A model may answer "yes", "Yes" or " YES", and each is another token. All spellings are looked up, and the
probabilities of a side's tokens are added up. A spelling of several tokens is told by its first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from limbeck.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from limbeck.teachers.llm.prompts import Prompt


class AnswerTokens(NamedTuple):
    """The ids of the tokens that say yes, and of those that say no; ascending."""

    yes: tuple[int, ...]
    no: tuple[int, ...]


def answer_tokens(tokenizer: Any, prompt: Prompt) -> AnswerTokens:
    """The first tokens of all spellings of a prompt's answers.

    Raises:
        InputError: the tokenizer knows no spelling of a side, or answers of both sides begin with the same
            token, so that the next token does not tell them apart.

    Example:
        >>> answer_tokens(AutoTokenizer.from_pretrained("Qwen/Qwen3-0.6B"), PROMPTS["asymmetric", "en"])
    """
    yes, no = ({word: _first_tokens(tokenizer, word) for word in words} for words in (prompt.yes, prompt.no))
    for side, found in (("yes", yes), ("no", no)):
        if not any(found.values()):
            raise InputError(
                f"the tokenizer has no token for '{side}' (tried {_listed(found)} in several spellings)",
                expected="words that the model can write",
                remedy="set `yes` and `no` of the prompt to words of the model's language",
            )
    for yes_word, yes_ids in yes.items():
        for no_word, no_ids in no.items():
            if both := yes_ids & no_ids:
                token = tokenizer.convert_ids_to_tokens(min(both))
                raise InputError(
                    f"'{yes_word}' and '{no_word}' begin with the same token '{token}', so that the model's "
                    "next token does not tell yes from no",
                    expected="answers that differ in their first token",
                    remedy="set `yes` and `no` of the prompt to other words",
                )
    return AnswerTokens(*(tuple(sorted(set().union(*found.values()))) for found in (yes, no)))


def yes_minus_no(logits: Tensor, yes_count: int) -> Tensor:
    """The logit of yes against no: its sigmoid is the probability of yes among the answers.

    Args:
        logits: (pairs, answers) of the tokens that say yes, then of those that say no.
        yes_count: how many say yes.

    Returns:
        (pairs,), `logsumexp(yes) - logsumexp(no)` in float32.

    Source: D2LLM, arXiv 2406.17262, equation 1, for one token a side.
    """
    logits = logits.float()
    return logits[:, :yes_count].logsumexp(1) - logits[:, yes_count:].logsumexp(1)


def _first_tokens(tokenizer: Any, word: str) -> set[int]:
    """Of the word as given, in lower case, capitalised, in capitals, with and without a space before it."""
    word = word.strip()
    vocabulary = tokenizer.get_vocab()
    found = set()
    for spelling in {word, word.lower(), word.capitalize(), word.upper()}:
        if spelling in vocabulary:  # where the tokenizer itself would put a space before the first word
            found.add(vocabulary[spelling])
        for text in (spelling, f" {spelling}"):
            first = tokenizer(text, add_special_tokens=False)["input_ids"][:1]
            # A space that stands alone says neither yes nor no, and an unknown token says nothing.
            if first and first[0] != tokenizer.unk_token_id and tokenizer.decode(first).strip():
                found.add(first[0])
    return found


def _listed(words: Sequence[str] | dict[str, set[int]]) -> str:
    return ", ".join(f"'{word}'" for word in words)
