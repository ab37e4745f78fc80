"""Loading a causal language model, its LoRA adapter merged, and telling one from another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.util import get_device_name
from transformers import AutoModelForCausalLM, AutoTokenizer

from limbeck.encoders import PROVENANCE
from limbeck.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

_ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model and its tokenizer.

    Attributes:
        model: of `transformers`, in evaluation mode.
        tokenizer: its tokenizer.
        name: where it was loaded from, for messages.
    """

    model: Any
    tokenizer: Any
    name: str

    @property
    def context(self) -> int:
        """The tokens that it can read at once."""
        config = self.model.config.get_text_config(decoder=True)
        limit = getattr(config, "max_position_embeddings", None)
        return int(limit) if limit else int(self.tokenizer.model_max_length)

    @property
    def device(self) -> torch.device:
        """Where its inputs belong."""
        embeddings = self.model.get_input_embeddings().weight
        return embeddings.device if embeddings.device.type != "meta" else torch.device(self.model.device)

    def digest(self) -> str:
        """A hash of weights as they are held, configuration and tokenizer, 16 hexadecimal digits.

        All weights are read, at about a gigabyte a second. Quantised weights are another model.
        """
        digest = hashlib.blake2b(digest_size=8)
        config = {key: value for key, value in self.model.config.to_dict().items() if key not in PROVENANCE}
        digest.update(json.dumps(config, sort_keys=True, default=str).encode())
        digest.update(self.tokenizer.backend_tokenizer.to_str().encode())
        for name, tensor in sorted(_state(self.model).items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


def _state(model: Any) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = model.state_dict()
    if any(tensor.is_meta for tensor in state.values()):  # a device map has put some on the disk
        from accelerate.utils.modeling import get_state_dict_offloaded_model  # noqa: PLC0415

        state = get_state_dict_offloaded_model(model)
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def load_language_model(
    model: str | os.PathLike[str],
    *,
    device: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> LanguageModel:
    """The causal language model in a folder or under a hub id; a LoRA adapter is merged into its base.

    Args:
        model: folder or hub id of a model, or of an adapter that `peft` has saved.
        device: where it goes; None takes the best there is. A `device_map` among the options decides alone.
        options: passed on to `from_pretrained`: `dtype`, `device_map`, `quantization_config`,
            `attn_implementation`, … Without a dtype it is float32 on a CPU, and elsewhere the one that it
            was saved in.

    Raises:
        InputError: it cannot be loaded, a package that an option needs is missing, or it is no causal
            language model: its head is missing, or it looks ahead.

    Example:
        >>> load_language_model("Qwen/Qwen3-4B", options={"quantization_config": {"load_in_4bit": True}})
    """
    device = device or get_device_name()
    chosen = {"dtype": "float32" if device == "cpu" else "auto", **(options or {})}
    name = str(model)
    adapter = Path(model) / _ADAPTER
    base = _base_of(adapter) if adapter.is_file() else name
    loading: Any = AutoModelForCausalLM.from_pretrained
    try:
        loaded, info = loading(base, output_loading_info=True, **chosen)
    # An unknown dtype is looked up in torch, and not there.
    except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError) as error:
        raise InputError(
            f"no language model can be loaded from '{base}' ({error})",
            expected="a folder with a causal language model, or the hub id of one",
            remedy="check the name, and the options under `load`" if options else None,
        ) from error
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise _no_causal_model(name, f"it has no weights for {missing}")
    tokenizer = load_tokenizer(name)
    if adapter.is_file():
        loaded = _with_adapter(loaded, adapter.parent)
    if "device_map" not in chosen and not getattr(loaded, "is_quantized", False):
        loaded = loaded.to(device)
    found = LanguageModel(loaded.eval(), tokenizer, name)
    if not _is_causal(found):
        raise _no_causal_model(name, "what it makes of a word depends on the words after it")
    return found


def load_tokenizer(model: str | os.PathLike[str]) -> Any:
    """The tokenizer of a model.

    Raises:
        InputError: there is none, or it has no fast form.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(model))
    except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
        raise InputError(f"no tokenizer can be loaded from '{model}' ({error})") from error
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise InputError(
            f"the tokenizer of '{model}' has no fast form", remedy="convert it to tokenizer.json"
        )
    return tokenizer


def _no_causal_model(name: str, reason: str) -> InputError:
    return InputError(
        f"'{name}' is no causal language model: {reason}",
        expected="a decoder that predicts the next token, such as Qwen, Llama, Mistral or Gemma",
        remedy="take such a model; for a reranker with one logit use a member of the kind 'cross-encoder'",
    )


def _base_of(adapter: Path) -> str:
    try:
        base = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError) as error:
        raise InputError("this is no adapter's configuration", path=adapter) from error
    return str(base)


def _with_adapter(model: Any, folder: Path) -> Any:
    PeftModel = require_peft().PeftModel  # noqa: N806  # a class
    adapted = PeftModel.from_pretrained(model, str(folder))
    # Merged into quantised weights, the adapter would be rounded to their few bits.
    return adapted if getattr(model, "is_quantized", False) else adapted.merge_and_unload()


def require_peft() -> Any:
    """The package `peft`.

    Raises:
        InputError: it is not installed.
    """
    try:
        import peft  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise InputError(
            "LoRA needs the package 'peft', which is not installed", remedy="pip install 'limbeck[lora]'"
        ) from error
    return peft


@torch.inference_mode()
def _is_causal(language_model: LanguageModel) -> bool:
    """Whether the state of the first tokens stays the same when the last one changes."""
    model = language_model.model
    ids = (
        torch.tensor([[1, 2, 3], [1, 2, 4]], device=language_model.device)
        % model.config.get_text_config().vocab_size
    )
    one, other = model(input_ids=ids).logits[:, 1].float()
    return bool((one - other).abs().max() <= 1e-2 * (1 + one.abs().max()))
