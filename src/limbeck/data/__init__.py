"""Passages, queries, judgements, rankings and sentence pairs: types, files and formats.

Importing this needs neither torch nor a network. The formats are in `limbeck.data.formats`.
"""

from limbeck.data.dataset import RetrievalDataset, open_dataset
from limbeck.data.judgements import Judgements
from limbeck.data.pair_features import PairFeatures, write_pair_features
from limbeck.data.pairs import SentencePair, SentencePairs
from limbeck.data.passages import Passage, Passages
from limbeck.data.queries import Queries, Query
from limbeck.data.ranked_lists import RankedList, fuse
from limbeck.data.rankings import Rankings
from limbeck.data.rankings_file import RankingsWriter

__all__ = [
    "Judgements",
    "PairFeatures",
    "Passage",
    "Passages",
    "Queries",
    "Query",
    "RankedList",
    "Rankings",
    "RankingsWriter",
    "RetrievalDataset",
    "SentencePair",
    "SentencePairs",
    "fuse",
    "open_dataset",
    "write_pair_features",
]
