"""The embedded corpus: the Python standard library on the user's own machine."""

from limbeck.data.stdlib.corpus import build_stdlib, stdlib_fingerprint

__all__ = ["build_stdlib", "stdlib_fingerprint"]
