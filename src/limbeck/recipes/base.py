"""What every section of a recipe is made of: the section itself, paths, models, shares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator

#: In the context of the validation: the folder from which the relative paths of a recipe count.
ORIGIN = "origin"


def _resolved(path: Path | str, info: ValidationInfo) -> Path:
    origin: Path = (info.context or {}).get(ORIGIN, Path())
    return (origin / Path(path).expanduser()).resolve()


def _file(path: Path, info: ValidationInfo) -> Path:
    full = _resolved(path, info)
    if not full.is_file():
        raise ValueError(f"there is no file {full}")
    return full


def _folder(path: Path, info: ValidationInfo) -> Path:
    full = _resolved(path, info)
    if not full.is_dir():
        raise ValueError(f"there is no folder {full}")
    return full


class LocalModel(str):
    """The folder of a model, where a name on the hub could stand, too."""

    __slots__ = ()


def _model(name: str, info: ValidationInfo) -> str:
    full = _resolved(name, info)
    if full.is_dir():
        return LocalModel(full)
    if name.startswith((".", "/", "~")):
        raise ValueError(f"there is no folder {full}")
    return name


def _kinds(annotation: Any) -> set[Any]:
    """The plain types of which a field's values are made: those of a union, and those inside a tuple, too."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if inner := get_args(annotation):
        return set().union(*map(_kinds, inner))
    return {annotation}


Fraction = Annotated[float, Field(ge=0, le=1)]
File = Annotated[Path, AfterValidator(_file)]
Folder = Annotated[Path, AfterValidator(_folder)]
#: A folder, or else a name on the hub.
ModelName = Annotated[str, Field(min_length=1), AfterValidator(_model)]
Split = Literal["train", "dev", "test"]
#: The losses on the teacher's rank list, see `limbeck.losses.LIST_LOSSES`, which a recipe does not import.
ListLossName = Literal[
    "distilled_rank_net",
    "kl_divergence",
    "lambda_loss",
    "list_mle",
    "list_net",
    "margin_mse",
    "positive_margin",
    "rank_imitation",
    "rank_net",
]


class Section(BaseModel):
    """A part of a recipe; a key that it does not know is an error.

    Attributes:
        later: keys that came after run folders were made; at their default they are no part of `settings`.
    """

    later: ClassVar[frozenset[str]] = frozenset()
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _truths_are_no_numbers(cls, content: Any) -> Any:
        # Python takes true for 1, which in a recipe is a slip.
        for name, value in content.items() if isinstance(content, dict) else ():
            truths = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, bool)]
            if truths and name in cls.model_fields:
                kinds = _kinds(cls.model_fields[name].annotation)
                if kinds & {int, float} and bool not in kinds:
                    has = "has" if isinstance(value, list) else "is"
                    raise ValueError(f"{name} {has} {str(truths[0]).lower()}, which is no number")
        return content

    @model_validator(mode="after")
    def _numbers_of_64_bits(self) -> Self:
        # What computes with them knows no others, and would say so after hours of work.
        for name, value in self:
            if isinstance(value, int) and abs(value) >= 2**63:
                raise ValueError(f"{name} is {value}, too large for a whole number of 64 bits")
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """What the section says as JSON values, as the key of a stage has it."""
        defaults = {
            name for name in self.later if getattr(self, name) == type(self).model_fields[name].default
        }
        return self.model_dump(mode="json", exclude=defaults)
