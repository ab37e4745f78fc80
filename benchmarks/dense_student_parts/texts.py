"""Real texts of mixed lengths that every machine has: Python's standard library, as in the quickstart."""

from __future__ import annotations

import numpy as np

from limbeck.data.stdlib.harvest import harvest
from limbeck.data.stdlib.questions import read_questions
from limbeck.teachers.base import Pair


def passages(count: int, seed: int) -> list[str]:
    """Documented functions and classes, from a line to a page, in random order."""
    texts = [entry.text(with_summary=True) for entry in harvest()]
    chosen = np.random.default_rng(seed).permutation(len(texts))[:count]
    return [texts[at] for at in chosen]


def pairs(count: int, seed: int) -> list[Pair]:
    """Hand-written questions with random passages."""
    generator = np.random.default_rng(seed)
    questions = [question.text for question in read_questions()]
    return [(questions[generator.integers(len(questions))], text) for text in passages(count, seed)]


def length_quantiles(counts: list[int]) -> dict[str, int]:
    """Tokens of the texts: the least, a tenth, the median, nine tenths, the most."""
    names = ("min", "p10", "p50", "p90", "max")
    found = np.percentile(counts, [0, 10, 50, 90, 100])
    return {name: int(value) for name, value in zip(names, found, strict=True)}
