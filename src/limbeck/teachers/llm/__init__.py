"""Causal language models as teachers.

    prompts -> encoding -> prefix -> teacher
                 answers ---^

Prompts need no torch; the rest is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from limbeck.teachers.llm.prompts import PROMPTS, Prompt

if TYPE_CHECKING:
    from limbeck.teachers.llm.loading import LanguageModel, load_language_model
    from limbeck.teachers.llm.teacher import LLMTeacher

__all__ = ["PROMPTS", "LLMTeacher", "LanguageModel", "Prompt", "load_language_model"]

_HOMES = {"LLMTeacher": "teacher", "LanguageModel": "loading", "load_language_model": "loading"}


def __getattr__(name: str) -> Any:  # PEP 562
    if name in _HOMES:
        return getattr(import_module(f"limbeck.teachers.llm.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
