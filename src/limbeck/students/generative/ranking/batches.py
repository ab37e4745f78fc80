"""Batches of rank lists: what the model reads, each prefix once, and how scores are made of its answers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limbeck.batching import padded
from limbeck.data import Queries
from limbeck.errors import InputError
from limbeck.students.generative.generator import IGNORED, Generator
from limbeck.students.generative.ranking.lists import QueryLists
from limbeck.students.generative.ranking.matches import UNIGRAM, Matches
from limbeck.students.generative.ranking.passage_scores import (
    Sequence_,
    identifier_scores,
    passage_scores,
    plan_rows,
    row_inputs,
    sequence_log_probabilities,
)
from limbeck.students.generative.targets import GenerationTargets

Batch = dict[str, Tensor]


class TargetDraws:
    """What is generated beside ranking: of each view the same number of targets.

    Args:
        targets: of the queries; those of one text belong together.
        number: drawn of each view for a row of lists, at most.
        seed: of the draws, which depend also on the row's query and passages.
    """

    def __init__(self, targets: GenerationTargets, number: int, seed: int) -> None:
        self._targets = targets
        self._number = number
        self._seed = seed
        self._examples: dict[str, dict[int, list[int]]] = {}
        for place, (owner, prompt) in enumerate(zip(targets.owners, targets.prompts, strict=True)):
            of_query = self._examples.setdefault(targets.queries[owner], {})
            of_query.setdefault(int(prompt), []).append(place)

    def draw(self, row: QueryLists, query: str) -> list[tuple[int, list[tuple[int, ...]]]]:
        """For each view that has some: its start marker, and targets."""
        key = "\0".join([str(self._seed), row.query_id, *row.passage_ids])
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        random = np.random.default_rng(int.from_bytes(digest, "big"))
        drawn = []
        for prompt, places in sorted(self._examples.get(query, {}).items()):
            chosen = random.permutation(len(places))[: self._number].tolist()
            rows = [tuple(self._targets.targets[places[place]].tolist()) for place in chosen]
            drawn.append((prompt, list(dict.fromkeys(rows))))
        return drawn


@dataclass(slots=True)
class _Building:
    """A batch while it is put together."""

    sources: dict[tuple[str, int], int] = field(default_factory=dict)
    sequences: list[Sequence_] = field(default_factory=list)
    identifiers: dict[tuple[int, tuple[int, ...], int], int] = field(default_factory=dict)
    frequencies: list[float] = field(default_factory=list)
    matches: list[tuple[int, float, int]] = field(default_factory=list)  # identifier, factor, passage
    pool: dict[tuple[str, str], int] = field(default_factory=dict)
    lists: list[list[int]] = field(default_factory=list)
    teacher: list[list[float]] = field(default_factory=list)
    targets: dict[Sequence_, float] = field(default_factory=dict)  # with the weight of each token

    def source(self, query: str, prompt: int) -> int:
        return self.sources.setdefault((query, prompt), len(self.sources))


class RankCollator:
    """Turns rows of lists into tensors.

    Args:
        generator: the model.
        matches: of the rows' passages.
        queries: texts.
        targets: what is generated beside; None for nothing.
    """

    def __init__(
        self, generator: Generator[Any], matches: Matches, queries: Queries, targets: TargetDraws | None
    ) -> None:
        self._generator = generator
        self._matches = matches
        self._queries = queries
        self._targets = targets
        settings = matches.settings
        self._views = settings.views
        markers = generator.vocabulary.markers([view.name for view in self._views])
        self._prompts = {place: markers[view.name].start for place, view in enumerate(self._views)}
        if settings.unigram_view is not None:
            self._prompts[UNIGRAM] = self._prompts[settings.unigram_view]

    def __call__(self, rows: Sequence[QueryLists]) -> Batch:
        """The batch of rows, one or more.

        Returns:
            What `row_inputs` gives; of the identifiers, each once a query and view (identifiers,):
            `id_rows`, `id_lengths`, `id_last`, `frequencies`, `bonus`, `cap`, `squared`; of the matches
            (matches,): `match_identifiers`, `match_factors`, `match_passages`; of the lists (lists, longest),
            over the passages of the batch, each once a query: `lists`, `teacher`, `mask`; of the targets
            (targets, longest): `target_rows`, `target_tokens`, `target_weights`, which add up to 1 over the
            tokens.

        Raises:
            InputError: no passage of the rows has an identifier, and nothing is generated beside.
        """
        building = _Building()
        texts = self._queries.texts([row.query_id for row in rows])
        for row, query in zip(rows, texts, strict=True):
            self._add_matches(building, row, query)
            self._add_lists(building, row)
            self._add_targets(building, row, query, len(rows))
        sequences = [*((source, tokens) for source, tokens, _ in building.identifiers), *building.targets]
        if not sequences:
            raise InputError(
                f"no passage of the lists of query '{rows[0].query_id}' has an identifier",
                remedy="leave these passages out, or learn to generate beside",
            )
        plan = plan_rows(sequences)
        batch = row_inputs(self._generator, plan.rows, list(building.sources))
        split = len(building.identifiers)
        batch |= self._identifier_tensors(building, plan.places[:split])
        batch |= _list_tensors(building)
        batch |= _target_tensors(building, plan.places[split:])
        return batch

    def _add_matches(self, building: _Building, row: QueryLists, query: str) -> None:
        for passage in row.passage_ids:
            if (row.query_id, passage) in building.pool:
                continue
            building.pool[row.query_id, passage] = place = len(building.pool)
            found = self._matches.of(row.query_id, passage)
            for view, tokens, frequency, factor in zip(
                found.views.tolist(), found.tokens, found.frequencies.tolist(), found.factors, strict=True
            ):
                key = (building.source(query, self._prompts[view]), tuple(tokens.tolist()), view)
                if key not in building.identifiers:
                    building.identifiers[key] = len(building.identifiers)
                    building.frequencies.append(frequency)
                building.matches.append((building.identifiers[key], float(factor), place))

    @staticmethod
    def _add_lists(building: _Building, row: QueryLists) -> None:
        for one in row.lists:
            building.lists.append([building.pool[row.query_id, passage] for passage in one.passage_ids])
            building.teacher.append(one.scores)

    def _add_targets(self, building: _Building, row: QueryLists, query: str, rows: int) -> None:
        drawn = self._targets.draw(row, query) if self._targets is not None else []
        for prompt, targets in drawn:
            tokens = sum(map(len, targets))
            for target in targets:
                key = (building.source(query, prompt), target)
                # Each row of lists counts alike, and in it each view, and of that each token.
                building.targets[key] = building.targets.get(key, 0.0) + 1 / (rows * len(drawn) * tokens)

    def _identifier_tensors(self, building: _Building, places: list[int]) -> Batch:
        keys = list(building.identifiers)
        raised = [(0.0, 0.0) if view == UNIGRAM else (self._views[view].bonus, self._views[view].cap)
                  for _, _, view in keys]  # fmt: skip
        matches = building.matches
        return {
            "id_rows": torch.tensor(places, dtype=torch.long),
            "id_lengths": torch.tensor([len(tokens) for _, tokens, _ in keys], dtype=torch.long),
            "id_last": torch.tensor([tokens[-1] for _, tokens, _ in keys], dtype=torch.long),
            "frequencies": torch.tensor(building.frequencies, dtype=torch.float64),
            "bonus": torch.tensor([bonus for bonus, _ in raised], dtype=torch.float64),
            "cap": torch.tensor([cap for _, cap in raised], dtype=torch.float64),
            "squared": torch.tensor([view != UNIGRAM for _, _, view in keys], dtype=torch.bool),
            "match_identifiers": torch.tensor([match[0] for match in matches], dtype=torch.long),
            "match_factors": torch.tensor([match[1] for match in matches], dtype=torch.float64),
            "match_passages": torch.tensor([match[2] for match in matches], dtype=torch.long),
            "passages": torch.tensor(len(building.pool)),
        }


def batch_scores(logits: Tensor, batch: Batch) -> Tensor:
    """The scores of a batch's lists, (lists, longest), float64; whatever in the padding.

    Args:
        logits: of the batch's rows.
        batch: of `RankCollator`.
    """
    chances = sequence_log_probabilities(
        logits, batch["row_labels"], batch["id_rows"], batch["id_lengths"], batch["id_last"]
    )
    weights = identifier_scores(chances, batch["frequencies"], batch["bonus"], batch["cap"], batch["squared"])
    scores = passage_scores(
        weights, batch["match_identifiers"], batch["match_factors"], batch["match_passages"],
        int(batch["passages"]),
    )  # fmt: skip
    return scores[batch["lists"]]


def batch_generation_loss(logits: Tensor, batch: Batch, smoothing: float) -> Tensor:
    """The cross-entropy of a batch's targets, with label smoothing; 0 where it has none.

    Each row of lists counts alike, in it each view, and of a view each token: with titles and bodies, half
    is the title and half are spans.

    Args:
        logits: of the batch's rows.
        batch: of `RankCollator`.
        smoothing: part of the target's probability that goes to all tokens alike.
    """
    rows, tokens = batch["target_rows"], batch["target_tokens"]
    first = (batch["row_labels"] != IGNORED).int().argmax(1)[rows]
    places = first[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
    answers = logits[rows[:, None], places.clamp_max(logits.shape[1] - 1)]
    losses = torch.nn.functional.cross_entropy(
        answers.flatten(0, 1), tokens.flatten(), ignore_index=IGNORED, label_smoothing=smoothing,
        reduction="none",
    )  # fmt: skip
    return (losses.view(tokens.shape) * batch["target_weights"][:, None]).sum()


def _list_tensors(building: _Building) -> Batch:
    width = max(map(len, building.lists))
    shape = (len(building.lists), width)
    lists, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool)
    teacher = torch.zeros(shape, dtype=torch.float64)
    for place, (columns, scores) in enumerate(zip(building.lists, building.teacher, strict=True)):
        lists[place, : len(columns)] = torch.tensor(columns)
        teacher[place, : len(columns)] = torch.tensor(scores, dtype=torch.float64)
        mask[place, : len(columns)] = True
    return {"lists": lists, "teacher": teacher, "mask": mask}


def _target_tensors(building: _Building, places: list[int]) -> Batch:
    return {
        "target_rows": torch.tensor(places, dtype=torch.long),
        "target_tokens": padded([tokens for _, tokens in building.targets] or [[]], IGNORED)[: len(places)],
        "target_weights": torch.tensor(list(building.targets.values())),
    }
