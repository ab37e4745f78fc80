"""The embedded corpus: the standard library as a retrieval data set.

Every documented name is a passage, its summary is a training query, and questions written by hand are for
dev and test. `docs/embedded-corpus.md` says how and why.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections import defaultdict
from importlib.resources import files
from pathlib import Path

from limbeck.data.dataset import RetrievalDataset, open_dataset
from limbeck.data.judgements import Judgements
from limbeck.data.passages import Passage, Passages
from limbeck.data.queries import Queries, Query
from limbeck.data.stdlib.harvest import harvest
from limbeck.data.stdlib.questions import Question, read_questions, split_modules, top_level
from limbeck.data.stdlib.source import Documented

logger = logging.getLogger(__name__)

#: A summary shared by more passages than this asks for nothing in particular ("Base class.").
MAX_SHARED_SUMMARY = 3
MIN_SUMMARY_WORDS = 3


def build_stdlib(into: Path, *, max_queries_per_module: int = 150) -> RetrievalDataset:
    """Writes the standard library of this interpreter as a retrieval data set.

    Passages are whole; `training_passages` are the same without the summary, which is the training query.
    Training queries come only from modules that answer no hand-written question, and never from a passage
    that says its summary a second time.

    Args:
        into: folder for the tables.
        max_queries_per_module: training queries drawn from one top-level module, at most, so that
            `tkinter` does not teach the retriever that everything is a widget.

    Returns:
        The data set, with splits `train`, `dev` and `test`.
    """
    entries = harvest()
    into.mkdir(parents=True, exist_ok=True)
    Passages.write(into / "passages.arrow", (_passage(e, with_summary=True) for e in entries))
    Passages.write(into / "training_passages.arrow", (_passage(e, with_summary=False) for e in entries))
    questions = read_questions()
    reserved = split_modules(questions)
    trainable = [e for e in entries if not any(top_level(e.name) in modules for modules in reserved.values())]
    _write_split(into, "train", *_summaries(trainable, max_queries_per_module))
    names = {entry.name for entry in entries}
    for split in ("dev", "test"):
        _write_split(into, split, *_asked([q for q in questions if q.split == split], names))
    return open_dataset(into)


def stdlib_fingerprint() -> str:
    """Changes when the interpreter, the questions or the way of harvesting do; older builds are stale."""
    digest = hashlib.blake2b(sys.version.encode(), digest_size=16)
    for file in sorted(files(__package__).iterdir(), key=lambda file: file.name):
        if file.name.endswith((".py", ".jsonl")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _passage(entry: Documented, *, with_summary: bool) -> Passage:
    # A programmer writes `str.join`, and nobody `builtins.str.join`.
    title = entry.name.removeprefix("builtins.")
    return Passage(id=entry.name, title=title, text=entry.text(with_summary=with_summary))


def _summaries(
    entries: list[Documented], max_per_module: int
) -> tuple[list[Query], list[tuple[str, str, int]]]:
    """Summaries as queries; passages that share one are all relevant to it."""
    owners: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        if _asks_for_something(entry):
            owners[entry.summary].append(entry.name)
    by_module: dict[str, list[str]] = defaultdict(list)
    for summary, names in owners.items():
        if len(names) <= MAX_SHARED_SUMMARY:
            by_module[top_level(names[0])].append(summary)
    kept = [
        summary
        for module in sorted(by_module)
        for summary in sorted(by_module[module], key=_shuffled)[:max_per_module]
    ]
    queries = [Query(id=f"s:{owners[summary][0]}", text=summary) for summary in kept]
    judgements = [(f"s:{owners[summary][0]}", name, 1) for summary in kept for name in owners[summary]]
    return queries, judgements


def _asks_for_something(entry: Documented) -> bool:
    """Whether the summary serves as a query for its passage.

    Some are a word or two, some warn, and some stand in the docstring a second time: those would be found
    by their very words.
    """
    summary = _plain(entry.summary)
    return (
        len(summary.split()) >= MIN_SUMMARY_WORDS
        and "deprecated" not in summary
        and summary not in _plain(entry.text(with_summary=False))
    )


def _plain(text: str) -> str:
    """Lower case, single spaces, no full stop at the end."""
    return " ".join(text.lower().split()).rstrip(".")


def _asked(questions: list[Question], names: set[str]) -> tuple[list[Query], list[tuple[str, str, int]]]:
    """Questions that this version of Python can answer, with the answers that it has."""
    queries: list[Query] = []
    judgements: list[tuple[str, str, int]] = []
    for question in questions:
        answers = {name: grade for name, grade in question.answers.items() if name in names}
        if max(answers.values(), default=0) == 0:
            logger.info("question %s is left out: this Python has none of its answers", question.id)
            continue
        queries.append(Query(id=question.id, text=question.text))
        judgements.extend((question.id, name, grade) for name, grade in answers.items())
    return queries, judgements


def _write_split(
    into: Path, split: str, queries: list[Query], judgements: list[tuple[str, str, int]]
) -> None:
    Queries.write(into / f"queries-{split}.arrow", queries)
    Judgements(judgements).write(into / f"judgements-{split}.arrow")


def _shuffled(summary: str) -> bytes:
    """A key that sorts summaries into an arbitrary order, always the same."""
    return hashlib.blake2b(summary.encode(), digest_size=8).digest()
