"""The identifier index: any run of tokens of the corpus, what may follow it, and where it occurs."""

from limbeck.indexes.fm_index.aggregation import PassageScores, Unigrams
from limbeck.indexes.fm_index.index import IdentifierIndex
from limbeck.indexes.fm_index.intervals import Continuations, Intervals, Occurrences, TopK
from limbeck.indexes.fm_index.ragged import Ragged
from limbeck.indexes.fm_index.views import View, join_views

__all__ = [
    "Continuations",
    "IdentifierIndex",
    "Intervals",
    "Occurrences",
    "PassageScores",
    "Ragged",
    "TopK",
    "Unigrams",
    "View",
    "join_views",
]
