"""MS MARCO tables: `collection.tsv` and `queries.<split>.tsv` (id, tab, text; no header), and TREC qrels.

Nguyen et al., "MS MARCO: A Human Generated MAchine Reading COmprehension Dataset", 2016.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from limbeck.data.dataset import PASSAGES_FILE, RetrievalDataset, open_dataset
from limbeck.data.formats.fields import columns, one_line
from limbeck.data.formats.qrels import read_qrels, write_qrels
from limbeck.data.formats.staging import dataset_folder, write_split
from limbeck.data.passages import Passage, Passages
from limbeck.data.queries import Queries, Query
from limbeck.errors import InputError
from limbeck.files import Records, atomic_folder, write_text

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


def import_msmarco(
    collection: str | os.PathLike[str],
    splits: Mapping[str, tuple[str | os.PathLike[str], str | os.PathLike[str]]],
    into: str | os.PathLike[str],
) -> RetrievalDataset:
    """Import MS MARCO tables, plain or gzip, into Limbeck's tables, and open them.

    A split gets the queries that its qrels name; the published query files hold many without a judgement.

    Args:
        collection: passages, `id <tab> text`.
        splits: from the name of a split to its queries (`id <tab> text`) and its qrels.
        into: where the tables are written; after an error it is as it was.

    Raises:
        InputError: with file and line, for whatever is wrong with the data.

    Example:
        >>> import_msmarco("collection.tsv", {"dev": ("queries.dev.tsv", "qrels.dev.tsv")}, "data/msmarco")
    """
    if not splits:
        raise InputError("no split is named", expected="queries and qrels of at least one")
    with dataset_folder(into) as staging:
        passages = Passages.write(staging / PASSAGES_FILE, Records(collection, _passage))
        for split, (asked, qrels) in splits.items():
            with TemporaryDirectory(dir=staging) as scratch:
                queries = Queries.write(Path(scratch) / "queries.arrow", Records(asked, _query))
                judgements = read_qrels(qrels, queries=queries, passages=passages)
                write_split(staging, split, queries, judgements)
    return open_dataset(into)


def _passage(line: str) -> Passage:
    return Passage(*columns(line.split("\t"), ("passage id", "text"), separator="a tab"))


def _query(line: str) -> Query:
    return Query(*columns(line.split("\t"), ("query id", "text"), separator="a tab"))


def write_msmarco(dataset: RetrievalDataset, folder: str | os.PathLike[str]) -> None:
    """Write `collection.tsv`, and `queries.<split>.tsv` and `qrels.<split>.tsv` for each split.

    The format has no titles: a passage is written as its content, that is title and text.

    Raises:
        InputError: for a tab or a line end in a text, and white space in an id, which the format cannot hold.
    """
    stale = ("collection.tsv*", "queries.*.tsv*", "qrels.*.tsv*")
    with atomic_folder(folder, stale=stale) as staging:
        with write_text(staging / "collection.tsv") as stream:
            for passage in dataset.passages:
                id_ = one_line(passage.id, "a passage id")
                stream.write(f"{id_}\t{one_line(passage.content, f'passage {id_!r}')}\n")
        for split in dataset.splits:
            with write_text(staging / f"queries.{split}.tsv") as stream:
                for query in dataset.queries[split]:
                    id_ = one_line(query.id, "a query id")
                    stream.write(f"{id_}\t{one_line(query.text, f'query {id_!r}')}\n")
            write_qrels(dataset.judgements[split], staging / f"qrels.{split}.tsv")
