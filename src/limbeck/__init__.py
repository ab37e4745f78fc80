"""Limbeck distils a slow, accurate ranker into a fast retriever."""

__version__ = "0.1.0"
