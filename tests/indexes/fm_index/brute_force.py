"""The identifier index by its definition: every occurrence found by looking at every place."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import strategies as st

BART_LIKE, CJK_LIKE, LARGEST = 50_265, 250_002, 2**32 - 1


class BruteForce:
    """Passages as tuples of token ids; `deleted` are passages that no answer shows."""

    def __init__(self, passages, deleted=()):
        self.passages = [tuple(int(token) for token in passage) for passage in passages]
        self.deleted = set(deleted)

    def occurrences(self, identifier):
        identifier = tuple(identifier)
        return [
            (number, offset)
            for number, passage in enumerate(self.passages)
            if number not in self.deleted
            for offset in range(len(passage))
            if passage[offset : offset + len(identifier)] == identifier
        ]

    def continuations(self, identifier):
        depth = len(identifier)
        followers = Counter(
            self.passages[number][offset + depth]
            for number, offset in self.occurrences(identifier)
            if offset + depth < len(self.passages[number])
        )
        return sorted(followers.items())

    def top_k(self, identifier, scores, k):
        """By a mask over the whole vocabulary: (token, score), best first, ties by token."""
        masked = np.full(len(scores), -np.inf, np.float32)
        for token, _ in self.continuations(identifier):
            if token < len(scores) and not np.isnan(scores[token]):
                masked[token] = scores[token]
        order = np.lexsort((np.arange(len(masked)), -masked))[:k]
        return [(int(token), masked[token]) for token in order if masked[token] > -np.inf]

    def suffixes(self):
        """The order of all suffixes: (passage, offset), by tokens, equal ones by place."""
        places = [(n, o) for n, passage in enumerate(self.passages) for o in range(len(passage))]
        return sorted(places, key=lambda place: (self.passages[place[0]][place[1] :], place))


def _corpora_of(tokens, longest=12, most=12):
    return st.lists(st.lists(tokens, max_size=longest), max_size=most)


@st.composite
def repetitive(draw):
    """Passages that are one another's copies, runs of one token, and periods."""
    period = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    passages = []
    for _ in range(draw(st.integers(1, 6))):
        passage = (period * 60)[: draw(st.integers(0, 120))]
        if draw(st.booleans()):
            passage = [*passage, draw(st.integers(0, 3))]
        passages += [passage] * draw(st.integers(1, 3))
    return passages


corpora = st.one_of(
    _corpora_of(st.integers(0, 3)),
    _corpora_of(st.integers(0, BART_LIKE - 1), longest=40),
    _corpora_of(st.sampled_from([0, 1, LARGEST - 1, LARGEST, 2**22 - 1, 2**22, 2**31])),
    _corpora_of(st.integers(CJK_LIKE - 3000, CJK_LIKE - 1), longest=60),
    _corpora_of(st.integers(0, 1), longest=2, most=2),
    repetitive(),
)
"""Random, repetitive, tiny, with the largest ids, and as CJK text has them."""


@st.composite
def corpora_with_deletions(draw):
    passages = draw(corpora)
    deleted = draw(st.sets(st.integers(0, len(passages) - 1))) if passages else set()
    return passages, sorted(deleted)


def identifiers_of(passages, generator, count=12):
    """Runs of the passages, some with a token changed, and the empty one; reproducible."""
    chosen = [()]
    filled = [passage for passage in passages if passage]
    for _ in range(count):
        if not filled:
            chosen.append((7,))
            continue
        passage = filled[generator.integers(len(filled))]
        start = generator.integers(len(passage))
        run = list(passage[start : start + generator.integers(1, 12)])
        if generator.random() < 0.3:
            run[generator.integers(len(run))] = int(generator.choice([0, 5, LARGEST, run[0]]))
        chosen.append(tuple(int(token) for token in run))
    return chosen
