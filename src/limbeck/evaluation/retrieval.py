"""Retrieval metrics of a run, one value a query, computed by `ir-measures`.

Design:

- The order that is measured is the order of the list. Evaluators break ties between equal scores in their
  own ways (trec_eval by descending passage id, others by ascending), so they get ranks instead of scores.
- Every judged query counts. One for which the run returns nothing, or for which nothing relevant exists, has
  the value 0, as in `trec_eval -c`: a system is not to win by keeping silent.
- A passage is relevant from grade 1 on. nDCG takes the grade itself as the gain; negative grades count as 0.
- Queries pass through in blocks, so that memory follows the depth of the lists and not the size of the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from limbeck.data import Judgements, Rankings
from limbeck.errors import InputError
from limbeck.files import atomic_path

DEFAULT_METRICS = ("nDCG@10", "MRR@10", "Recall@100")
RELEVANT_GRADE = 1

_BLOCK = 1024
_NAME = re.compile(r"(?P<family>[a-z]+)(?:@(?P<cutoff>[1-9][0-9]*))?", re.IGNORECASE)
# Any case and the usual synonyms are understood; what is written is always one name.
_FAMILIES = {
    "ndcg": "nDCG",
    "mrr": "MRR",
    "rr": "MRR",
    "recall": "Recall",
    "r": "Recall",
    "map": "MAP",
    "ap": "MAP",
    "hits": "Hits",
    "success": "Hits",
    "precision": "Precision",
    "p": "Precision",
}
_NEEDS_CUTOFF = frozenset({"Recall", "Hits", "Precision"})
_MEASURES = {
    "nDCG": ir_measures.nDCG,
    "MRR": ir_measures.RR(rel=RELEVANT_GRADE),
    "Recall": ir_measures.R(rel=RELEVANT_GRADE),
    "MAP": ir_measures.AP(rel=RELEVANT_GRADE),
    "Hits": ir_measures.Success(rel=RELEVANT_GRADE),
    "Precision": ir_measures.P(rel=RELEVANT_GRADE),
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A retrieval metric: what it is called here, and the measure that computes it.

    Attributes:
        name: the canonical name, such as `"nDCG@10"`.
        measure: the `ir_measures` measure.
    """

    name: str
    measure: ir_measures.Measure


def parse_metric(name: str) -> Metric:
    """Understand the name of a retrieval metric.

    | name        | is                                                                             |
    |-------------|--------------------------------------------------------------------------------|
    | nDCG[@k]    | normalised discounted cumulative gain, gain = grade (Järvelin & Kekäläinen 2002) |
    | MRR[@k]     | reciprocal rank of the first relevant passage                                  |
    | MAP[@k]     | average precision                                                              |
    | Recall@k    | share of the relevant passages among the first k                               |
    | Precision@k | share of relevant passages among the first k                                   |
    | Hits@k      | 1 when a relevant passage is among the first k                                 |

    Args:
        name: the name in any case; `RR`, `AP`, `R@k`, `P@k` and `Success@k` are understood too.

    Returns:
        The metric under its canonical name.

    Raises:
        InputError: for a name that is not in the table, or a cut-off that is missing.

    Example:
        >>> parse_metric("ndcg@10").name
        'nDCG@10'
    """
    expected = (
        "nDCG[@k], MRR[@k], MAP[@k], Recall@k, Precision@k or Hits@k with a whole number k of at least 1"
    )
    match = _NAME.fullmatch(name.strip())
    family = _FAMILIES.get(match["family"].lower()) if match else None
    if match is None or family is None:
        raise InputError(f"unknown metric {name!r}", expected=expected)
    cutoff = match["cutoff"]
    if cutoff is None:
        if family in _NEEDS_CUTOFF:
            raise InputError(
                f"metric {name!r} needs a cut-off", expected=expected, remedy=f"write for example {family}@10"
            )
        return Metric(family, _MEASURES[family])
    return Metric(f"{family}@{cutoff}", _MEASURES[family] @ int(cutoff))


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """What one run scores on every judged query.

    Attributes:
        query_ids: the judged queries, in the order of the judgements.
        values: metric name to values of shape (queries,), in the order of `query_ids`.

    Example:
        >>> metrics = RunMetrics(("q1", "q2"), {"MRR@10": np.array([1.0, 0.5])})
        >>> metrics.mean("MRR@10")
        0.75
    """

    query_ids: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]

    def __post_init__(self) -> None:
        for name, values in self.values.items():
            if values.shape != (len(self.query_ids),):
                raise ValueError(f"{name}: shape {values.shape}, but there are {len(self.query_ids)} queries")

    def __len__(self) -> int:
        return len(self.query_ids)

    def __getitem__(self, metric: str) -> NDArray[np.float64]:
        name = metric if metric in self.values else parse_metric(metric).name
        if name not in self.values:
            raise InputError(f"metric {name} was not computed", expected=f"one of {', '.join(self.values)}")
        return self.values[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics, in the order in which they were asked for."""
        return tuple(self.values)

    def mean(self, metric: str) -> float:
        """The mean of a metric over the judged queries."""
        return float(self[metric].mean())

    def write(self, path: Path) -> None:
        """Write one row a query (`query_id`, then a column a metric) as an Arrow IPC file, atomically."""
        columns: dict[str, object] = {"query_id": list(self.query_ids)}
        table = pa.table({**columns, **{name: np.asarray(values) for name, values in self.values.items()}})
        with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), table.schema) as writer:
            writer.write_table(table)

    @classmethod
    def open(cls, path: Path) -> RunMetrics:
        """Read what `write` wrote.

        Raises:
            InputError: when the file is missing or is no such table.
        """
        try:
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source).read_all()
            names = [name for name in table.column_names if name != "query_id"]
            # Copied, because the columns would otherwise point into the map that is closed here.
            return cls(
                tuple(table["query_id"].to_pylist()),
                {name: np.array(table[name].to_numpy(), dtype=np.float64) for name in names},
            )
        except FileNotFoundError as error:
            raise InputError("there is no such file", path=path, remedy="evaluate the run first") from error
        except (pa.ArrowInvalid, KeyError) as error:
            raise InputError(
                "this is no table of metrics", path=path, expected="an Arrow file with a column query_id"
            ) from error


def evaluate_run(
    rankings: Rankings, judgements: Judgements, metrics: Sequence[str] = DEFAULT_METRICS
) -> RunMetrics:
    """Measure a run against judgements.

    Args:
        rankings: the run; queries without judgements are left aside.
        judgements: the judged queries, each of which gets a value.
        metrics: names that `parse_metric` understands.

    Returns:
        For every metric, under its canonical name, values of shape (queries,) from 0 to 1.

    Raises:
        InputError: when nothing is judged, when no judged query is in the run, or for an unknown metric.

    Example:
        >>> evaluate_run(rankings, judgements, ["nDCG@10"]).mean("nDCG@10")  # doctest: +SKIP
        0.412
    """
    query_ids = tuple(judgements.query_ids)
    parsed = {metric.name: metric.measure for metric in map(parse_metric, metrics)}
    if not query_ids:
        raise InputError("there are no judgements", remedy="give judgements for at least one query")
    returned = set(rankings.query_ids)
    if returned and returned.isdisjoint(query_ids):
        raise InputError(
            "no query of the run is judged",
            expected=f"query ids such as {query_ids[0]!r}, not {min(returned)!r}",
            remedy="check that the run and the judgements belong to the same queries",
        )
    values = {name: np.zeros(len(query_ids)) for name in parsed}
    name_of = {measure: name for name, measure in parsed.items()}
    row_of = {query_id: row for row, query_id in enumerate(query_ids)}
    for block in _blocks(query_ids, _BLOCK):
        qrels = {query_id: _gains(judgements.grades(query_id)) for query_id in block}
        run = {
            query_id: _ranks(rankings.list_for(query_id).passage_ids)
            for query_id in block
            if query_id in returned
        }
        for result in ir_measures.evaluator(list(name_of), qrels).iter_calc(run):
            values[name_of[result.measure]][row_of[result.query_id]] = result.value
    return RunMetrics(query_ids, values)


def _gains(grades: Mapping[str, int]) -> dict[str, int]:
    return {passage_id: max(0, int(grade)) for passage_id, grade in grades.items()}


def _ranks(passage_ids: Sequence[str]) -> dict[str, float]:
    """Scores without ties that put the passages into the order that they have here."""
    return {passage_id: float(len(passage_ids) - rank) for rank, passage_id in enumerate(passage_ids)}


def _blocks(items: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block
