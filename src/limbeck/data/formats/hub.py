"""Data sets from the network: the Hugging Face hub in the layout of BEIR, and `ir_datasets` ids.

Both libraries are optional (`pip install 'limbeck[hub]'`) and are imported only when asked for.
"""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from limbeck.data.dataset import PASSAGES_FILE, SPLITS, RetrievalDataset, open_dataset
from limbeck.data.formats.fields import json_id, json_text
from limbeck.data.formats.staging import dataset_folder, write_split
from limbeck.data.judgements import Judgements
from limbeck.data.passages import Passage, Passages
from limbeck.data.queries import Queries, Query
from limbeck.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import ModuleType

# What the parts of a BEIR data set are called on the hub; `validation` is what the hub calls `dev`.
QRELS_CONFIGS = ("default", "qrels")
DEFAULT_SPLITS = {"train": ("train",), "dev": ("dev", "validation"), "test": ("test",)}


def import_hub(
    name: str,
    into: str | os.PathLike[str],
    *,
    qrels: str | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> RetrievalDataset:
    """Import a data set of the hub, or of a folder that `datasets.load_dataset` reads, and open it.

    The layout is that of BEIR: configurations `corpus` (`_id`, `title`, `text`) and `queries` (`_id`,
    `text`), and judgements (`query-id`, `corpus-id`, `score`) with the splits train, dev or validation, test.

    Args:
        name: for example "BeIR/scifact".
        into: where the tables are written; after an error it is as it was.
        qrels: the data set that has the judgements. By default a configuration `default` or `qrels` of
            `name`, and where it has neither, the data set `<name>-qrels`.
        cache: where `datasets` keeps what it downloads; its own default when None.

    Raises:
        InputError: when `datasets` is not installed, there is no network, there is no such data set, or its
            content is wrong.

    Example:
        >>> import_hub("BeIR/scifact", "data/scifact")
    """
    hub = _Hub(_library("datasets"), None if cache is None else str(cache))
    configs = hub.call("get_dataset_config_names", name)
    for needed in ("corpus", "queries"):
        if needed not in configs:
            raise InputError(
                f"{name} has no configuration {needed!r} (found: {', '.join(configs)})",
                expected="a data set in the layout of BEIR",
            )
    config = next((config for config in QRELS_CONFIGS if config in configs), None)
    judged = hub.load(name, config) if qrels is None and config else hub.load(qrels or f"{name}-qrels", None)
    parts = {
        split: judged[found]
        for split, names in DEFAULT_SPLITS.items()
        if (found := next((name for name in names if name in judged), None))
    }
    if not parts:
        found = ", ".join(judged)
        raise InputError(f"the judgements of {name} have the splits {found}", expected=", ".join(SPLITS))
    judgements = {split: Judgements(map(_judgement, part)) for split, part in parts.items()}
    return _import(
        into,
        lambda: (_passage(row) for row in hub.rows(name, "corpus")),
        dict.fromkeys(judgements, lambda: (_query(row) for row in hub.rows(name, "queries"))),
        judgements,
    )


class _Hub:
    """`datasets`, with its errors made into ours."""

    def __init__(self, library: ModuleType, cache: str | None) -> None:
        self._library = library
        self._cache = cache

    # The library is untyped, so what it takes and gives is Any.
    def call(self, function: str, name: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self._library, function)(name, *arguments, **options)
        except FileNotFoundError as error:  # which DatasetNotFoundError is
            raise InputError(
                f"there is no data set {name!r} ({error})", remedy="check the name, and log in if it is gated"
            ) from None
        except OSError as error:
            raise _no_network(name, error) from None
        except (ValueError, self._library.exceptions.DatasetsError) as error:
            raise InputError(f"data set {name!r} cannot be read ({error})") from None

    def load(self, name: str, config: str | None) -> Any:
        return self.call("load_dataset", name, config, cache_dir=self._cache)

    def rows(self, name: str, config: str) -> Iterator[dict[str, Any]]:
        """The rows of all splits of a configuration; the hub calls its one split by many names."""
        for part in self.load(name, config).values():
            yield from part


def _passage(row: dict[str, Any]) -> Passage:
    return Passage(json_id(row, "_id"), json_text(row, "text"), json_text(row, "title", optional=True))


def _query(row: dict[str, Any]) -> Query:
    return Query(json_id(row, "_id"), json_text(row, "text"))


def _judgement(row: dict[str, Any]) -> tuple[str, str, int]:
    score = row.get("score")
    if not isinstance(score, (int, float)) or score != int(score):
        raise InputError(f"a judgement has the score {score!r}", expected="a whole number")
    return json_id(row, "query-id"), json_id(row, "corpus-id"), int(score)


class IrDataset(Protocol):
    """What is used of an `ir_datasets` data set."""

    def docs_iter(self) -> Iterator[Any]:
        """Documents with `doc_id`, and `text` or `default_text()`, and sometimes `title`."""
        ...

    def queries_iter(self) -> Iterator[Any]:
        """Queries with `query_id`, and `text` or `default_text()`."""
        ...

    def qrels_iter(self) -> Iterator[Any]:
        """Judgements with `query_id`, `doc_id`, `relevance`."""
        ...


def import_ir_datasets(ids: str | Mapping[str, str], into: str | os.PathLike[str]) -> RetrievalDataset:
    """Import data sets of `ir_datasets`, which downloads them, and open them.

    Args:
        ids: from the name of a split to an id; one id alone is the split "test". All must be of one corpus:
            the documents are those of the first.
        into: where the tables are written; after an error it is as it was.

    Raises:
        InputError: when `ir_datasets` is not installed, there is no network, an id is unknown, or the content
            is wrong.

    Example:
        >>> import_ir_datasets({"train": "beir/scifact/train", "test": "beir/scifact/test"}, "data/scifact")
    """
    library = _library("ir_datasets")
    splits = {"test": ids} if isinstance(ids, str) else dict(ids)
    parts: dict[str, IrDataset] = {}
    for split, id_ in splits.items():
        try:
            parts[split] = library.load(id_)
        except KeyError:
            raise InputError(
                f"ir_datasets has no data set {id_!r}", remedy="see https://ir-datasets.com"
            ) from None
    try:
        return import_ir_dataset_objects(parts, into)
    except OSError as error:
        raise _no_network(", ".join(splits.values()), error) from None


def import_ir_dataset_objects(
    parts: Mapping[str, IrDataset], into: str | os.PathLike[str]
) -> RetrievalDataset:
    """Import objects that have the interface of `ir_datasets`, by split, as `import_ir_datasets` does."""
    if not parts:
        raise InputError("no split is named", expected="at least one")
    for split, part in parts.items():
        missing = [name for name in ("docs_iter", "queries_iter", "qrels_iter") if not hasattr(part, name)]
        if missing:
            raise InputError(
                f"the data set of split {split!r} has no {missing[0].removesuffix('_iter')}",
                expected="documents, queries and judgements",
                remedy="name a subset that has them, for example 'beir/scifact/test'",
            )
    judgements = {
        split: Judgements((row.query_id, row.doc_id, row.relevance) for row in part.qrels_iter())
        for split, part in parts.items()
    }
    corpus = next(iter(parts.values()))
    queries = {split: partial(_ir_queries, part) for split, part in parts.items()}
    return _import(into, lambda: map(_ir_passage, corpus.docs_iter()), queries, judgements)


def _ir_queries(part: IrDataset) -> Iterator[Query]:
    return map(_ir_query, part.queries_iter())


def _ir_passage(document: Any) -> Passage:
    title = getattr(document, "title", None) or ""
    text = document.text if hasattr(document, "text") else document.default_text()
    return Passage(document.doc_id, text, title if hasattr(document, "text") else "")


def _ir_query(query: Any) -> Query:
    return Query(query.query_id, query.text if hasattr(query, "text") else query.default_text())


def _import(
    into: str | os.PathLike[str],
    passages: Callable[[], Iterable[Passage]],
    queries: Mapping[str, Callable[[], Iterable[Query]]],
    judgements: Mapping[str, Judgements],
) -> RetrievalDataset:
    with dataset_folder(into) as staging:
        corpus = Passages.write(staging / PASSAGES_FILE, passages())
        for split, judged in judgements.items():
            with TemporaryDirectory(dir=staging) as scratch:
                asked = Queries.write(Path(scratch) / "queries.arrow", queries[split]())
                judged.check(corpus, asked)
                write_split(staging, split, asked, judged)
    return open_dataset(into)


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        remedy = "pip install 'limbeck[hub]'"
        raise InputError(f"this needs {name!r}, which is not installed", remedy=remedy) from None


def _no_network(name: str, error: OSError) -> InputError:
    return InputError(
        f"{name} could not be downloaded ({type(error).__name__}: {error})",
        expected="a network, or a copy that was downloaded before",
        remedy="connect, or import files that you have (BEIR, TREC, MS MARCO)",
    )
