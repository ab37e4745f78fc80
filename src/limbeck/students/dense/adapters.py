"""Low-rank adapters (LoRA) on the backbone of a dense student: what a large backbone learns with.

Hu et al. 2021, *LoRA*, arXiv 2106.09685, by the library `peft`. The backbone's own weights are frozen and the
adapters learn; pooling and interaction, which start from nothing, learn in full. A saved student has the
adapters merged into its weights, so that nothing of this is needed to use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from sentence_transformers import SentenceTransformer
from torch import nn

from limbeck.errors import InputError


@dataclass(frozen=True)
class LoraSettings:
    """Size of the adapters, as D2LLM published them.

    Attributes:
        rank: of the two matrices beside a weight.
        alpha: what their product is scaled with, over the rank.
        dropout: on what goes into them, in training.
        target_modules: names of the linear layers that get some; None leaves it to `peft`, which knows the
            usual ones (queries and values of the attention) of many architectures.
    """

    rank: int = 8
    alpha: float = 8.0
    dropout: float = 0.05
    target_modules: Sequence[str] | None = None


def add_adapters(model: SentenceTransformer, settings: LoraSettings) -> None:
    """Freezes the transformer of a model and puts adapters into it, in place; the model computes what it did.

    Raises:
        InputError: `peft` is not installed, does not know the architecture, or no layer has such a name.

    Example:
        >>> add_adapters(load_backbone("Qwen/Qwen3-Embedding-0.6B", 256), LoraSettings())  # doctest: +SKIP
    """
    if find_spec("peft") is None:
        raise InputError(
            "student.lora needs the package 'peft', which is not installed",
            remedy="pip install 'limbeck[lora]'",
        )
    from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415  # an extra

    names = settings.target_modules
    config = LoraConfig(
        r=settings.rank,
        # peft scales by a float as well as by a whole number
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=None if names is None else list(names),
    )
    transformer = model.transformers_model
    if transformer is None:
        raise InputError("the backbone has no transformer to adapt", expected="a model of `transformers`")
    transformer.requires_grad_(requires_grad=False)
    try:
        inject_adapter_in_model(config, transformer)
    except ValueError as error:
        raise InputError(
            f"no adapters can be put into the backbone: {str(error).splitlines()[0]}",
            expected="names of linear layers of the backbone, such as query and value",
            remedy="set student.lora.target_modules",
        ) from error


def has_adapters(model: nn.Module) -> bool:
    """Whether a model has adapters that are not merged."""
    # Of an embedding they are called otherwise than of a linear layer.
    return any(".lora_A." in name or ".lora_embedding_A." in name for name, _ in model.named_parameters())


def merge_adapters(model: nn.Module) -> None:
    """Adds what the adapters learned to the weights beside them and removes them, in place.

    Raises:
        InputError: a merged weight would be NaN or infinite.
    """
    if not has_adapters(model):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer  # noqa: PLC0415

    adapted = [(name, part) for name, part in model.named_modules() if isinstance(part, BaseTunerLayer)]
    for name, part in adapted:
        try:
            part.merge(safe_merge=True)
        except ValueError as error:
            raise InputError(
                f"the adapters diverged: {str(error).splitlines()[0]}", remedy="lower training.learning_rate"
            ) from error
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, part.get_base_layer())
    model.requires_grad_(requires_grad=True)
