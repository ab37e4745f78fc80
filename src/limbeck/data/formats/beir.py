"""BEIR folders: `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv`, each plain or gzip.

Thakur et al., "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models",
NeurIPS 2021.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING

import numpy as np

from limbeck.data.dataset import PASSAGES_FILE, SPLITS, RetrievalDataset, open_dataset
from limbeck.data.formats.fields import json_id, json_object, json_text
from limbeck.data.formats.qrels import read_qrels, write_qrels
from limbeck.data.formats.staging import dataset_folder, write_split
from limbeck.data.passages import Passage, Passages
from limbeck.data.queries import Queries, Query
from limbeck.errors import InputError
from limbeck.files import Records, atomic_folder, find_file, require_folder, write_text

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

LAYOUT = "a BEIR folder: corpus.jsonl[.gz], queries.jsonl[.gz], qrels/<split>.tsv[.gz]"
DEFAULT_SPLITS = {split: split for split in SPLITS}


def import_beir(
    folder: str | os.PathLike[str],
    into: str | os.PathLike[str],
    *,
    splits: Mapping[str, str] = DEFAULT_SPLITS,
    qrels: str = "qrels",
) -> RetrievalDataset:
    """Import a BEIR folder into Limbeck's tables, and open them.

    `queries.jsonl` holds the queries of all splits; a split gets those that its qrels name, and queries that
    none names are left out. Judgements with score 0 are kept: they say that a passage is not relevant.

    Args:
        folder: the BEIR folder.
        into: where the tables are written; after an error it is as it was.
        splits: from the name of a split to the name of its qrels file without `.tsv`. A file that is missing
            is a split that the data does not have; one at least must be there.
        qrels: the folder in `folder` that holds the qrels files.

    Raises:
        InputError: with file and line, for whatever is wrong with the data.

    Example:
        >>> dataset = import_beir("scifact", "data/scifact")
        >>> graded = import_beir("scifact", "data/graded", splits={"test": "test"}, qrels="qrels_graded")
    """
    folder = require_folder(folder, expected=LAYOUT)
    corpus, asked = _part(folder, "corpus.jsonl"), _part(folder, "queries.jsonl")
    found = _qrels_files(folder, splits, qrels)
    with dataset_folder(into) as staging:
        passages = Passages.write(staging / PASSAGES_FILE, beir_passages(corpus))
        with TemporaryDirectory(dir=staging) as scratch:
            everything = Queries.write(Path(scratch) / "queries.arrow", Records(asked, _query))
            for split, file in found.items():
                judgements = read_qrels(file, queries=everything, passages=passages)
                write_split(staging, split, everything, judgements)
    return open_dataset(into)


def import_beir_split(
    folder: str | os.PathLike[str], qrels: str, split: str, passages: Passages, into: Path
) -> None:
    """Import the queries of one qrels file of a BEIR folder, for passages that are there already.

    Args:
        folder: the BEIR folder; its corpus is not read.
        qrels: the name of the qrels file without `.tsv`.
        split: the name of the split that is written.
        passages: those that are judged.
        into: a folder for the two tables of the split.

    Raises:
        InputError: with file and line, for whatever is wrong with the data, such as an unknown passage.
    """
    folder = require_folder(folder, expected=LAYOUT)
    file = _qrels_files(folder, {split: qrels}, "qrels")[split]
    with TemporaryDirectory(dir=into) as scratch:
        records = Records(_part(folder, "queries.jsonl"), _query)
        everything = Queries.write(Path(scratch) / "queries.arrow", records)
        write_split(into, split, everything, read_qrels(file, queries=everything, passages=passages))


def _part(folder: Path, name: str) -> Path:
    path = find_file(folder, name)
    if path is None:
        raise InputError(f"there is neither {name} nor {name}.gz", path=folder, expected=LAYOUT)
    return path


def _qrels_files(folder: Path, splits: Mapping[str, str], qrels: str) -> dict[str, Path]:
    found = {split: find_file(folder / qrels, f"{stem}.tsv") for split, stem in splits.items()}
    there = {split: file for split, file in found.items() if file is not None}
    if not there:
        names = ", ".join(f"{stem}.tsv" for stem in splits.values())
        raise InputError(f"none of {names} is there", path=folder / qrels, expected=LAYOUT)
    return there


def beir_passages(path: str | os.PathLike[str]) -> Records[Passage]:
    """The passages of a `corpus.jsonl`, plain or gzip: objects with `_id`, `text` and, if need be, `title`.

    Nothing is read before they are iterated. `Passages.write` checks what a single line cannot tell, such as
    ids that come twice, and its errors name the line too.

    Raises:
        InputError: while iterating, with file and line, for a line that is something else.

    Example:
        >>> passages = Passages.write("passages.arrow", beir_passages("scifact/corpus.jsonl"))
    """
    return Records(path, _passage)


def _passage(line: str) -> Passage:
    record = json_object(line)
    return Passage(
        json_id(record, "_id"), json_text(record, "text"), json_text(record, "title", optional=True)
    )


def _query(line: str) -> Query:
    record = json_object(line)
    return Query(json_id(record, "_id"), json_text(record, "text"))


def write_beir(dataset: RetrievalDataset, folder: str | os.PathLike[str]) -> None:
    """Write a data set as a BEIR folder, plain files. Training passages have no place in it and are left out.

    The queries of all splits stand in one file, each once, those of the first split first.

    Raises:
        InputError: when two splits have a query with the same id and different texts; for an id with a tab or
            a line end.
    """
    with atomic_folder(folder, stale=("corpus.jsonl*", "queries.jsonl*", "qrels/*.tsv*")) as staging:
        with write_text(staging / "corpus.jsonl") as stream:
            for passage in dataset.passages:
                _write_line(stream, {"_id": passage.id, "title": passage.title, "text": passage.text})
        with write_text(staging / "queries.jsonl") as stream:
            for query in _distinct_queries(dataset):
                _write_line(stream, {"_id": query.id, "text": query.text})
        for split in dataset.splits:
            write_qrels(dataset.judgements[split], staging / "qrels" / f"{split}.tsv", layout="beir")


def _write_line(stream: IO[str], record: dict[str, str]) -> None:
    stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def _distinct_queries(dataset: RetrievalDataset) -> Iterator[Query]:
    """The queries of all splits, each once."""
    for at, split in enumerate(dataset.splits):
        queries = dataset.queries[split]
        known = np.zeros(len(queries), bool)
        for earlier in dataset.splits[:at]:
            shared = dataset.queries[earlier].contains(queries.ids())
            ids = [queries.id(row) for row in np.flatnonzero(shared).tolist()]
            for id_, one, other in zip(
                ids, dataset.queries[earlier].texts(ids), queries.texts(ids), strict=True
            ):
                if one != other:
                    raise InputError(f"query {id_!r} has another text in {split!r} than in {earlier!r}")
            known |= shared
        yield from (query for query, seen in zip(queries, known.tolist(), strict=True) if not seen)
