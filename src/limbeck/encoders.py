"""Loading models and running them: what mining, teachers and others that read texts with a model share.

torch and sentence-transformers are imported when a function needs them, so that importing this is light.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.errors import InputError
from limbeck.hardware import supports_bf16

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    import torch
    from numpy.typing import NDArray
    from sentence_transformers import CrossEncoder, SentenceTransformer

MISSING = "the packages 'torch' and 'sentence-transformers' are not installed"
REMEDY = "pip install 'limbeck[dense]'"
#: Of a model's configuration: where it comes from, and how it is held, neither of which changes a score.
PROVENANCE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures")
#: What a training sets, and may leave otherwise.
_OF_TRAINING = ("use_cache", "gradient_checkpointing")


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Computes in bfloat16 where the hardware does, else in float32."""
    import torch  # noqa: PLC0415

    return torch.autocast(device.type, torch.bfloat16, enabled=supports_bf16(device.type))


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the bars and reports of `transformers` off the screen; errors still are raised."""
    from transformers.utils import logging  # noqa: PLC0415

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def load_encoder(model: SentenceTransformer | str | os.PathLike[str]) -> SentenceTransformer:
    """The model itself, or the one in this folder or under this hub id.

    Raises:
        InputError: when nothing can be loaded from there, or the extra `dense` is not installed.
    """
    try:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    except ImportError as error:
        raise InputError(MISSING, remedy=REMEDY) from error
    if isinstance(model, SentenceTransformer):
        return model
    encoder: SentenceTransformer = _loaded(SentenceTransformer, model, "a sentence-transformers model")
    return encoder


def load_cross_encoder(
    model: CrossEncoder | str | os.PathLike[str], *, max_length: int | None = None, **options: object
) -> CrossEncoder:
    """The cross-encoder itself, or the one in this folder or under this hub id.

    Args:
        model: what to load.
        max_length: the tokens of query and passage together that are read; None leaves the model's own limit.
        options: passed on to `sentence_transformers.CrossEncoder`.

    Raises:
        InputError: when nothing can be loaded from there, when it reads fewer tokens than `max_length`, or
            when the extra `dense` is not installed.
    """
    try:
        from sentence_transformers import CrossEncoder  # noqa: PLC0415
    except ImportError as error:
        raise InputError(MISSING, remedy=REMEDY) from error
    loaded: CrossEncoder = (
        model
        if isinstance(model, CrossEncoder)
        else _loaded(CrossEncoder, model, "a cross-encoder", **options)
    )
    if max_length is not None:
        positions = _positions(loaded)
        if positions is not None and max_length > positions:
            raise InputError(
                f"the cross-encoder '{model}' reads at most {positions} tokens, "
                f"and max_length is {max_length}",
                remedy=f"set the teacher's max_length to {positions} or less",
            )
        loaded.max_length = max_length
    return loaded


def _positions(model: CrossEncoder) -> int | None:
    """The tokens for which a model has positions; None where its configuration does not say."""
    positions: int | None = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        # RoBERTa counts from behind the padding token: two of its 514 positions are never a token's.
        if name.endswith(".position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.num_embeddings) - int(module.padding_idx) - 1
    return positions


def _loaded(kind: Callable[..., Any], model: Any, what: str, **options: object) -> Any:
    try:
        loaded = kind(str(model), **options)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no model can be loaded from '{model}' ({error})",
            expected=f"a folder with {what}, or the hub id of one",
        ) from error
    # CPUs are slow at float16; where bfloat16 is fast, autocast uses it.
    return loaded.float() if loaded.device.type == "cpu" else loaded


def encode(
    model: SentenceTransformer, texts: Sequence[str], batch_size: int = 64, *, query: bool = False
) -> NDArray[np.float32]:
    """Normalised embeddings of texts, in bfloat16 where the machine is fast at it.

    The longest texts go first, so that little of a batch is padding; the model's own prompts for queries
    and for documents are used, where it has some.

    Args:
        model: the encoder.
        texts: what to encode.
        batch_size: texts a forward pass.
        query: whether these are queries rather than passages.

    Returns:
        (texts, dimensions), rows of length 1.
    """
    method = model.encode_query if query else model.encode_document
    with autocast(model.device):
        vectors = method(
            list(texts), batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False
        )
    return np.asarray(vectors, np.float32)


def weights_digest(model: torch.nn.Module) -> str:
    """A hash of all weights, 16 hexadecimal digits: the same in whatever precision they are held."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        values = tensor.detach().cpu()
        digest.update((values.float() if values.is_floating_point() else values).numpy().tobytes())
    return digest.hexdigest()


def model_digest(model: SentenceTransformer | CrossEncoder) -> str:
    """A hash of all that decides what a model makes of a text, 16 hexadecimal digits.

    Beside its weights: the settings of its modules, such as how tokens are pooled, its prompts, and its
    tokenizer. Where it was loaded from does not count.
    """
    from sentence_transformers.base.modules import Module  # noqa: PLC0415  # loaded by now

    modules = [
        (type(module).__name__, module.get_config_dict() if isinstance(module, Module) else None)
        for module in model.children()
    ]
    transformer = model.transformers_model
    config = {} if transformer is None else transformer.config.to_dict()
    kept = {key: value for key, value in config.items() if key not in {*PROVENANCE, *_OF_TRAINING}}
    told = [weights_digest(model), modules, kept, model.prompts, model.default_prompt_name]
    digest = hashlib.blake2b(json.dumps(told, sort_keys=True, default=str).encode(), digest_size=8)
    digest.update(_tokenizer_content(model.tokenizer))
    return digest.hexdigest()


def _tokenizer_content(tokenizer: Any) -> bytes:
    # A static model has the one of `tokenizers` itself.
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "to_str"):  # written in Python
        told: object = [type(tokenizer).__name__, tokenizer.get_vocab(), str(tokenizer.special_tokens_map)]
    else:
        # How long the last texts might be, and how they were filled up, is no part of it.
        told = {**json.loads(backend.to_str()), "truncation": None, "padding": None}
    return json.dumps(told, sort_keys=True).encode()
