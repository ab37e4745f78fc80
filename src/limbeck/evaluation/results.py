"""The results of a run: every system's metrics with intervals, its time per query, and the comparisons.

On disk they are one JSON file:

    {"systems": {NAME: {METRIC: {"value": 0.41, "low": 0.38, "high": 0.44}, ...,
                        "latency_ms": {"p50": 1.2, "p95": 2.0}}},
     "comparisons": [...], "machine": {...}, "seed": 0, "recipe": {...},
     "deviations": {NAME: {METRIC: 0.01, ...}}, "unit": "query"}

in which only `systems` is always there. An interval that does not exist (a single query) is `null`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

from limbeck.errors import InputError
from limbeck.files import atomic_path

LATENCY = "latency_ms"
Unit = Literal["query", "pair"]
SIGNIFICANT = 0.05

_EXPECTED = '{"systems": {NAME: {METRIC: {"value", "low", "high"}, ..., "latency_ms": {"p50", "p95"}}}}'
_REMEDY = "write the file with limbeck, or remove it and run again"
_Record = TypeVar("_Record", "Estimate", "Latency", "Comparison")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its confidence interval.

    Attributes:
        value: the mean.
        low: lower end of the interval; NaN when there is none.
        high: upper end of the interval; NaN when there is none.
    """

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def has_interval(self) -> bool:
        """Whether the interval is known."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True, slots=True)
class Latency:
    """Time per query, or per pair, in milliseconds: the median and the 95th percentile."""

    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class SystemResult:
    """What one system scores, and how long it takes.

    Attributes:
        metrics: metric name to estimate, in the order of the table's columns.
        latency_ms: time per query; None where it was not measured.
    """

    metrics: Mapping[str, Estimate]
    latency_ms: Latency | None = None

    def __post_init__(self) -> None:
        if LATENCY in self.metrics:
            raise ValueError(f"{LATENCY!r} is the key of the time per query, not a metric")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two systems on the same queries, or the same pairs; the difference is `first` minus `second`.

    Attributes:
        first: name of the system that is compared.
        second: name of the system that it is compared with.
        metric: the metric, such as `"nDCG@10"`.
        queries: number of queries, or of pairs.
        difference: mean of the per-query differences, or the difference of a metric that is no such mean.
        low: lower end of its confidence interval; NaN when there is none.
        high: upper end of its confidence interval; NaN when there is none.
        p_value: paired randomisation test, two-sided; for a metric that is no mean the shifted bootstrap.
        t_test_p_value: paired t-test, two-sided; NaN for a metric that is no mean.
        p_holm: `p_value` corrected for the comparisons made together (Holm 1979).
        wins: queries on which `first` is better.
        losses: queries on which `second` is better.
        ties: queries on which they are equal. All three are 0 for a metric that no single pair has.
    """

    first: str
    second: str
    metric: str
    queries: int
    difference: float
    low: float
    high: float
    p_value: float
    t_test_p_value: float
    p_holm: float
    wins: int
    losses: int
    ties: int

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is below 0.05."""
        return self.p_holm < SIGNIFICANT

    @property
    def outcomes(self) -> tuple[str, str, str]:
        """Wins, losses and ties, ready to print; dashes for a metric that no single query or pair has."""
        counts = self.wins, self.losses, self.ties
        return (f"{counts[0]:,}", f"{counts[1]:,}", f"{counts[2]:,}") if any(counts) else ("–", "–", "–")


@dataclass(frozen=True, slots=True)
class Results:
    """The systems of a run side by side.

    Attributes:
        systems: name to result, in the order of the table's rows.
        comparisons: paired comparisons between them.
        machine: what the times were measured on, for people to read.
        seed: the seed of intervals and tests.
        recipe: the recipe that made the run, as JSON values.
        deviations: system and metric to the standard deviation of the value over runs with other seeds, for
            systems that were made several times.
        unit: what is answered, and timed: queries or pairs.

    Example:
        >>> results = Results({"bm25": SystemResult({"MRR@10": Estimate(0.5, 0.4, 0.6)}, Latency(1.0, 2.5))})
        >>> print(results.to_markdown())
        | System | MRR@10 | ms per query |
        |:--|--:|--:|
        | bm25 | **0.500** [0.400, 0.600] | 1.0 |
    """

    systems: Mapping[str, SystemResult]
    comparisons: Sequence[Comparison] = ()
    machine: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    deviations: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    unit: Unit = "query"

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Every metric that some system has, in order of first appearance."""
        return tuple(dict.fromkeys(name for system in self.systems.values() for name in system.metrics))

    def comparison(self, first: str, second: str, metric: str) -> Comparison | None:
        """The comparison of two systems on a metric, if it was made."""
        wanted = (first, second, metric)
        return next((c for c in self.comparisons if (c.first, c.second, c.metric) == wanted), None)

    def best(self, metric: str) -> float:
        """The largest value of a metric; NaN when no system has it."""
        values = [
            system.metrics[metric].value for system in self.systems.values() if metric in system.metrics
        ]
        return max((value for value in values if not math.isnan(value)), default=math.nan)

    def mark(self, system: str, metric: str, baseline: str | None) -> Literal["", "▲", "▼"]:
        """`▲` where a system is significantly better than the baseline, `▼` where worse, else nothing."""
        found = self.comparison(system, baseline, metric) if baseline is not None else None
        if found is None or not found.significant:
            return ""
        return "▲" if found.difference > 0 else "▼"

    def table_rows(
        self, metrics: Sequence[str] | None = None, *, intervals: bool = True, baseline: str | None = None
    ) -> list[list[str]]:
        """The table as strings: a heading, then a row a system, then nothing else.

        Args:
            metrics: the columns; None takes all.
            intervals: whether the intervals stand behind the values.
            baseline: the system against which significance is marked (`▲`, `▼`).

        Returns:
            Rows of equal length: name, a cell a metric, the median time per query in ms.
        """
        return self._rows(metrics or self.metric_names, intervals, baseline, lambda text: text)

    def to_markdown(
        self, metrics: Sequence[str] | None = None, *, intervals: bool = True, baseline: str | None = None
    ) -> str:
        """The table in Markdown, with the best value of each metric in bold; arguments as `table_rows`."""
        rows = self._rows(metrics or self.metric_names, intervals, baseline, lambda text: f"**{text}**")
        return markdown_table(rows)

    def _rows(
        self, metrics: Sequence[str], intervals: bool, baseline: str | None, emphasise: Callable[[str], str]
    ) -> list[list[str]]:
        rows = [["System", *metrics, f"ms per {self.unit}"]]
        for name, system in self.systems.items():
            cells = [name]
            for metric in metrics:
                estimate = system.metrics.get(metric)
                if estimate is None:
                    cells.append("–")
                    continue
                value = format_value(estimate.value)
                if estimate.value == self.best(metric):
                    value = emphasise(value)
                spread = self.deviations.get(name, {}).get(metric)
                cells.append(
                    value
                    + self.mark(name, metric, baseline)
                    + ("" if spread is None else f" ± {format_value(spread)}")
                    + format_interval(estimate, intervals)
                )
            cells.append("–" if system.latency_ms is None else format_ms(system.latency_ms.p50))
            rows.append(cells)
        return rows

    def to_dict(self) -> dict[str, Any]:
        """The results as JSON values, in the shape that the module describes."""
        document: dict[str, Any] = {"systems": {}}
        for name, system in self.systems.items():
            entry: dict[str, Any] = {
                metric: _jsonable(estimate) for metric, estimate in system.metrics.items()
            }
            if system.latency_ms is not None:
                entry[LATENCY] = _jsonable(system.latency_ms)
            document["systems"][name] = entry
        if self.comparisons:
            document["comparisons"] = [_jsonable(comparison) for comparison in self.comparisons]
        if self.machine:
            document["machine"] = dict(self.machine)
        if self.seed is not None:
            document["seed"] = self.seed
        if self.recipe:
            document["recipe"] = dict(self.recipe)
        if self.deviations:
            document["deviations"] = {name: dict(spreads) for name, spreads in self.deviations.items()}
        if self.unit != "query":
            document["unit"] = self.unit
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Results:
        """Read what `to_dict` returns.

        Raises:
            InputError: when the shape is another one.
        """
        try:
            systems = {}
            for name, entry in document["systems"].items():
                metrics = {key: _build(Estimate, value) for key, value in entry.items() if key != LATENCY}
                systems[name] = SystemResult(
                    metrics, _build(Latency, entry[LATENCY]) if LATENCY in entry else None
                )
            return cls(
                systems,
                tuple(_build(Comparison, comparison) for comparison in document.get("comparisons", ())),
                dict(document.get("machine", {})),
                document.get("seed"),
                dict(document.get("recipe", {})),
                {
                    name: {metric: float(spread) for metric, spread in spreads.items()}
                    for name, spreads in document.get("deviations", {}).items()
                },
                _unit(document.get("unit", "query")),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"these are no results ({error})", expected=_EXPECTED) from error

    def write(self, path: Path) -> None:
        """Write the results as JSON, atomically."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read the results that `write` wrote.

        Raises:
            InputError: when the file is missing, is not JSON or has another shape; it names the file.
        """
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise InputError("there is no such file", path=path, remedy="run the recipe first") from error
        except json.JSONDecodeError as error:
            raise InputError(
                f"this is not JSON ({error.msg})",
                path=path,
                line=error.lineno,
                expected=_EXPECTED,
                remedy=_REMEDY,
            ) from error
        except UnicodeDecodeError as error:
            raise InputError("this is not UTF-8", path=path, expected=_EXPECTED, remedy=_REMEDY) from error
        except InputError as error:
            raise InputError(error.problem, path=path, expected=error.expected, remedy=_REMEDY) from error


def plural(unit: Unit) -> str:
    """Several of what is answered."""
    return {"query": "queries", "pair": "pairs"}[unit]


def format_value(value: float) -> str:
    """A metric to three decimals; a dash for NaN."""
    if math.isnan(value):
        return "–"
    # Adding zero turns the -0.0 that rounding leaves into 0.0.
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


def signed(value: float) -> str:
    """A difference to three decimals with its sign."""
    text = format_value(value)
    return text if text.startswith(("−", "–")) or float(text) == 0 else f"+{text}"


def format_p(value: float, *, relation: bool = False) -> str:
    """A p-value to three decimals; small ones as a bound. With `relation`, others too: `= 0.012`."""
    if math.isnan(value):
        return "–"
    if value < 0.001:
        return "<\u00a00.001"
    return f"=\u00a0{value:.3f}" if relation else f"{value:.3f}"


def format_interval(estimate: Estimate | Comparison, shown: bool = True) -> str:
    """` [low, high]` with a leading space, or nothing where there is no interval."""
    if not shown or not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return ""
    return f" [{format_value(estimate.low)}, {format_value(estimate.high)}]"


def format_ms(milliseconds: float) -> str:
    """A time with two digits that count: 0.042, 1.2, 38, 1,204."""
    if milliseconds >= 10:
        return f"{milliseconds:,.0f}"
    return f"{milliseconds:.1f}" if milliseconds >= 1 else f"{milliseconds:.2g}"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of a heading and rows; the first column is set left, the others right."""
    heading, *body = [[_markdown_cell(cell) for cell in row] for row in rows]
    rule = [":--", *["--:"] * (len(heading) - 1)]
    lines = [f"| {' | '.join(heading)} |", f"|{'|'.join(rule)}|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in body])


def _markdown_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _jsonable(record: Estimate | Latency | Comparison) -> dict[str, Any]:
    # JSON knows no NaN; strict readers refuse the whole file.
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in asdict(record).items()
    }


def _unit(name: object) -> Unit:
    if name not in get_args(Unit):
        raise ValueError(f"the unit is {name!r}")
    return cast("Unit", name)


def _build(kind: type[_Record], record: Mapping[str, Any]) -> _Record:
    kinds = {entry.name: entry.type for entry in fields(kind)}
    if set(record) != set(kinds):
        raise ValueError(f"{kind.__name__.lower()} has the keys {sorted(record)} and not {sorted(kinds)}")
    for key, value in record.items():
        wanted: tuple[type, ...] = (str,) if kinds[key] == "str" else (int, float, type(None))
        if type(value) not in wanted:
            raise ValueError(f"{kind.__name__.lower()}: {key} is {value!r}")
    values: dict[str, Any] = {key: math.nan if value is None else value for key, value in record.items()}
    return kind(**values)
