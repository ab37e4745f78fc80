"""Mining: the candidates that a teacher is to judge, by words (BM25), by embeddings (dense), or by both.

passages, queries -> Miner -> mine_to -> Rankings -> filters
"""

from limbeck.mining.bm25 import BM25
from limbeck.mining.dense import DenseMiner
from limbeck.mining.filters import drop_likely_positives, without_positives
from limbeck.mining.miners import BM25Miner, Miner, UnionMiner, mine_to
from limbeck.mining.tokenisation import languages, tokenizer_for

__all__ = [
    "BM25",
    "BM25Miner",
    "DenseMiner",
    "Miner",
    "UnionMiner",
    "drop_likely_positives",
    "languages",
    "mine_to",
    "tokenizer_for",
    "without_positives",
]
