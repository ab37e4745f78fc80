"""The student's passage scores, with gradients through the identifiers' log-probabilities.

The score is that of a search (`limbeck.indexes.fm_index.aggregation`, METHODS of SEAL and MINDER): the sum of
the weights of the identifiers that count in the passage, each times a factor for the tokens that are not new.
Which ones count, and with which factor, stays as it was when the matches were collected; the weights follow
the model.

Each prefix is decoded once: a sequence needs the model's answer after its last token but one, so a row for
`a b` serves `a`, `a b`, `a b c` and `a b d` alike, and any row of a query and view serves its single tokens.
The encoder reads a query once a view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from limbeck.students.generative.generator import IGNORED, Generator
from limbeck.students.generative.scoring import identifier_weights

#: A query asked for a view, by number, and tokens that may follow its marker.
Sequence_ = tuple[int, tuple[int, ...]]


def identifier_scores(
    log_probabilities: Tensor, frequencies: Tensor, bonus: Tensor, cap: Tensor, squared: Tensor
) -> Tensor:
    """The weights of identifiers and unigrams together.

    Args:
        log_probabilities: `L`, (identifiers,), of the tokens without markers.
        frequencies: `F`, (identifiers,).
        bonus: added to `L`, (identifiers,).
        cap: what `L` with its bonus is at most, (identifiers,).
        squared: False for unigrams, (identifiers,).

    Returns:
        (identifiers,), not negative, in the wider of the two types.

    Example:
        >>> likely, rare = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.2, 0.2]).log()  # odds 1 and 1/4
        >>> none = torch.zeros(2)
        >>> weights = identifier_scores(likely, rare, none, none, torch.tensor([True, False]))
        >>> [round(weight, 4) for weight in weights.tolist()]  # log² 4 and log 4
        [1.9218, 1.3863]
    """
    weights = identifier_weights(log_probabilities, frequencies, bonus=bonus, cap=cap, squared=False)
    return torch.where(squared, weights.square(), weights)


def passage_scores(
    weights: Tensor, identifiers: Tensor, factors: Tensor, passages: Tensor, count: int
) -> Tensor:
    """The scores of passages.

    Args:
        weights: of identifiers, (identifiers,).
        identifiers: which one each match is of, (matches,).
        factors: of the matches, (matches,).
        passages: in which passage each match is, (matches,).
        count: of passages.

    Returns:
        (passages,); 0 for one without a match.

    Example:
        >>> weights, factors = torch.tensor([9.0, 4.0]), torch.tensor([1.0, 1.0, 0.5])
        >>> matched, inside = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])
        >>> passage_scores(weights, matched, factors, inside, 3).tolist()
        [13.0, 2.0, 0.0]
    """
    contributions = weights[identifiers] * factors.to(weights.dtype)
    return weights.new_zeros(count).index_add(0, passages, contributions)


@dataclass(frozen=True, slots=True)
class RowPlan:
    """Which rows the decoder has to read.

    Attributes:
        rows: (rows,) the source and the tokens of each; the model's answer at the place of each token is
            used, so the last token is not read.
        places: (sequences,) the row that serves each sequence that was asked for.
    """

    rows: list[Sequence_]
    places: list[int]


def plan_rows(wanted: Sequence[Sequence_]) -> RowPlan:
    """As few rows as serve all sequences.

    Args:
        wanted: sequences of at least one token, each with its source.

    Example:
        >>> plan = plan_rows([(0, (5,)), (0, (5, 6)), (0, (5, 7)), (0, (5, 6, 8)), (1, (5,))])
        >>> plan.rows, plan.places
        ([(0, (5, 6, 8)), (1, (5,))], [0, 0, 0, 0, 1])
    """
    rows: list[Sequence_] = []
    places = [0] * len(wanted)
    # By source and by what must be read: what begins like another stands before it, the longest one last.
    order = sorted(range(len(wanted)), key=lambda place: (wanted[place][0], wanted[place][1][:-1]))
    for place in reversed(order):
        source, tokens = wanted[place]
        read = tokens[:-1]
        if not rows or rows[-1][0] != source or rows[-1][1][:-1][: len(read)] != read:
            rows.append((source, tokens))
        places[place] = len(rows) - 1
    last = len(rows) - 1
    return RowPlan(rows[::-1], [last - place for place in places])


def row_inputs(
    generator: Generator[Any], rows: Sequence[Sequence_], sources: Sequence[tuple[str, int]]
) -> dict[str, Tensor]:
    """The model's inputs for planned rows.

    Args:
        generator: the model.
        rows: of a plan, at least one.
        sources: text and start marker of each source.

    Returns:
        As `Generator.training_inputs`, with `row_labels` in place of `labels`; and `source_of` (rows,), the
        place of each row's source among the sources that have a row; `first_rows` (sources,), a row of each.
    """
    asked = [sources[source] for source, _ in rows]
    inputs = generator.training_inputs(
        [query for query, _ in asked], [prompt for _, prompt in asked], [tokens for _, tokens in rows]
    )
    inputs["row_labels"] = inputs.pop("labels")
    first: dict[int, int] = {}
    for row, (source, _) in enumerate(rows):
        first.setdefault(source, row)
    places = {source: place for place, source in enumerate(first)}
    inputs["source_of"] = torch.tensor([places[source] for source, _ in rows])
    inputs["first_rows"] = torch.tensor(list(first.values()))
    return inputs


def row_logits(model: Any, encoder: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """The model's logits for planned rows, (rows, tokens, vocabulary), float32.

    Args:
        model: of a generator.
        encoder: of the model, where it has one: it reads each source once.
        inputs: of `row_inputs`, on the model's device; what else is in it is not looked at.
    """
    mask = inputs["attention_mask"]
    read: dict[str, Any]
    if "decoder_input_ids" in inputs:
        first, source_of = inputs["first_rows"], inputs["source_of"]
        encoded = encoder(input_ids=inputs["input_ids"][first], attention_mask=mask[first])
        hidden = BaseModelOutput(last_hidden_state=encoded.last_hidden_state[source_of])
        read = {"encoder_outputs": hidden, "decoder_input_ids": inputs["decoder_input_ids"]}
    else:
        read = {"input_ids": inputs["input_ids"]}
    logits: Tensor = model(**read, attention_mask=mask, use_cache=False).logits
    return logits.float()


def sequence_log_probabilities(
    logits: Tensor, labels: Tensor, rows: Tensor, lengths: Tensor, last: Tensor
) -> Tensor:
    """The log-probabilities of whole sequences out of the rows that serve them.

    Args:
        logits: (rows, tokens, vocabulary).
        labels: (rows, tokens), aligned with them: the tokens of the rows; `IGNORED` elsewhere.
        rows: the row that serves each sequence, (sequences,).
        lengths: tokens of each sequence, (sequences,).
        last: the last token of each, (sequences,); those before it are the row's.

    Returns:
        (sequences,), float64.
    """
    asked = labels != IGNORED
    norm = logits.logsumexp(-1)
    chosen = logits.gather(-1, labels.clamp_min(0)[..., None])[..., 0] - norm
    # Sums of float32 in float64 are exact at these sizes, as in decoding.
    sums = chosen.double().masked_fill(~asked, 0.0).cumsum(1)
    place = asked.int().argmax(1)[rows] + lengths - 1
    before = torch.where(lengths > 1, sums[rows, (place - 1).clamp_min(0)], 0.0)
    return before + (logits[rows, place, last] - norm[rows, place]).double()
