"""The questions that people ask of the standard library, written and judged by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its judged answers.

    Attributes:
        id: `d001` or `t001`.
        split: `dev` or `test`.
        text: as someone would type it.
        answers: grade of each judged name: 2 answers it, 1 helps, 0 looks like an answer and is not.
    """

    id: str
    split: str
    text: str
    answers: dict[str, int]


def read_questions() -> list[Question]:
    """All questions of the package, in the order of their file.

    Example:
        >>> {question.split for question in read_questions()} == {"dev", "test"}
        True
    """
    lines = (files(__package__) / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [Question(**json.loads(line)) for line in lines if line.strip()]


def split_modules(questions: list[Question]) -> dict[str, frozenset[str]]:
    """Which top-level modules the questions of each split are answered from.

    Modules of neither are for training. No module is in both (a test of the package holds it so).
    """
    return {
        split: frozenset(top_level(name) for q in questions if q.split == split for name in q.answers)
        for split in ("dev", "test")
    }


def top_level(name: str) -> str:
    """The top-level module of a qualified name."""
    return name.split(".", 1)[0]
