"""Endpoints that speak OpenAI's protocol, asked for judgements and for texts.

    Endpoint, Budget -> ServerClient -> Answer

What needs the package `openai` is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from limbeck.servers.budget import Budget, Cost, Ledger, LimitReachedError, Price
from limbeck.servers.endpoint import Answer, Endpoint, Request
from limbeck.servers.tokens import TokenCounter

if TYPE_CHECKING:
    from limbeck.servers.client import ServerClient

__all__ = [
    "Answer",
    "Budget",
    "Cost",
    "Endpoint",
    "Ledger",
    "LimitReachedError",
    "Price",
    "Request",
    "ServerClient",
    "TokenCounter",
]


def __getattr__(name: str) -> Any:  # PEP 562
    if name == "ServerClient":
        return import_module("limbeck.servers.client").ServerClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
