"""What a part holds, as the compiled kernels see it.

Design facts:
- A token id is stored as its *code*: its place, from 1, among the distinct ids that occur. Code 0 ends a
  passage, so any id up to 2**32 - 1 is valid, and a corpus of fewer than 65,536 distinct ids takes 2 bytes a
  token whatever its vocabulary.
- The suffix array leaves out the suffixes that begin at a passage end: the interval of the empty prefix is as
  long as the corpus has tokens. A suffix is compared up to its passage's end; equal ones stand by position.
- The children of *wide nodes* (prefixes of up to `DEPTHS - 1` tokens with many occurrences) are stored, code
  and first rank, so that listing thousands of followers reads memory in order. All else is read off the text.
- Kernels do not trust what the file says: a rank or position that is out of bounds is treated as the end of a
  passage, so that a damaged file can mislead an unchecked reader and never make it read foreign memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEPTHS = 9
"""Wide nodes are prefixes of 0 (the root) to 8 tokens."""
WIDE_SIZE = 128
"""Prefixes with fewer occurrences have no stored children: scanning them costs less than finding a node."""
WIDE_CHILDREN = 4
"""Nor have those with fewer distinct followers: galloping over few runs is fast at any length."""
BLOCK_SHIFT = 7
"""The first passage is stored for every 2**7 positions."""
POSITION_LIMIT = 2**32 - 1
"""Tokens and passages of one part together: positions take 32 bits."""


class PartArrays(NamedTuple):
    """The arrays of a part, memory-mapped and read-only.

    Attributes:
        text: (tokens + passages,) uint16 or uint32, the codes of each passage followed by a 0.
        suffixes: (tokens,) uint32, positions in `text` in the order of the suffixes that start there.
        starts: (passages + 1,) uint32, where each passage starts in `text`; the last entry is its length.
        blocks: (blocks + 1,) uint32, the passage of position `block << BLOCK_SHIFT`.
        alphabet: (codes,) uint32, ascending; the token of code c is `alphabet[c - 1]`.
        depth_nodes: (DEPTHS + 1,) int64, the first wide node of each depth.
        node_lows: (nodes,) uint32, the first rank of each wide node, ascending within a depth.
        node_children: (nodes + 1,) int64, the first child of each wide node.
        child_codes: (children,) like text, ascending within a node.
        child_firsts: (children,) uint32, the first rank of each child; it ends where the next begins.
    """

    text: NDArray[Any]
    suffixes: NDArray[np.uint32]
    starts: NDArray[np.uint32]
    blocks: NDArray[np.uint32]
    alphabet: NDArray[np.uint32]
    depth_nodes: NDArray[np.int64]
    node_lows: NDArray[np.uint32]
    node_children: NDArray[np.int64]
    child_codes: NDArray[Any]
    child_firsts: NDArray[np.uint32]
