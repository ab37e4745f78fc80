"""A family of recipes: variants of one recipe, each with several seeds, to be compared in one table.

name: losses
recipe: nq_qed-generative.yaml
seeds: [0, 1, 2]
variants:
  ltrgr: {student.ranking.loss: positive_margin}
  dgr: {}
compare: [[dgr, ltrgr]]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from limbeck.errors import InputError
from limbeck.recipes.base import ORIGIN, File
from limbeck.recipes.loading import described, make_recipe, recipe_content
from limbeck.recipes.recipe import Recipe
from limbeck.strict_yaml import read_yaml, set_value

#: It names a folder, too.
VariantName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=64)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
#: One name, or several: a table takes the first that it has.
Systems = Annotated[
    tuple[str, ...],
    Field(min_length=1),
    BeforeValidator(lambda given: (given,) if isinstance(given, str) else given),
]
#: The kind of student that has a key of the seed.
_SEEDED = {"training.seed": "dense", "student.ranking.seed": "generative"}


class FamilyFile(BaseModel):
    """What the YAML file of a family says; a key that it does not know is an error.

    Attributes:
        name: of the family.
        recipe: the recipe that all variants are made from, relative to the family's file.
        seeds: each a run of every variant; null takes the recipe's.
        seed_key: what a seed sets: `seed` repeats all of a run, `training.seed` a dense student and the
            fine-tuned backbone on one and the same teacher, `student.ranking.seed` the ranking of a
            generative student on one and the same base retriever.
        variants: name to what it changes: keys of the recipe with dots between levels, as `--set` has them.
        compare: pairs of variants; null compares each with the first.
        systems: variant to the system of its runs that stands for it; the student where it is not named. Of a
            recipe with a corpus and pairs there are two tables, whose systems have names of their own: a list
            names those of both.
        recovered: triples of variants (student, baseline, teacher): the share of the distance from baseline
            to teacher that the student has gone. For recipes of pairs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    recipe: File
    seeds: tuple[Seed, ...] | None = Field(None, min_length=1)
    seed_key: Literal["seed", "training.seed", "student.ranking.seed"] = "seed"
    variants: dict[VariantName, dict[str, Any] | None] = Field(min_length=1)
    compare: tuple[tuple[str, str], ...] | None = None
    systems: dict[str, Systems] = {}
    recovered: tuple[tuple[str, str, str], ...] = ()

    @model_validator(mode="after")
    def _names_of_variants(self) -> Self:
        together = (*(self.compare or ()), *self.recovered)
        named = [*self.systems, *(name for names in together for name in names)]
        unknown = next((name for name in named if name not in self.variants), None)
        if unknown is not None:
            raise ValueError(f"there is no variant '{unknown}', only {', '.join(self.variants)}")
        pairs = self.compare or ()
        twice = next((pair for pair in pairs if pair[0] == pair[1] or pairs.count(pair) > 1), None)
        if twice is not None:
            raise ValueError(
                f"compare: [{', '.join(twice)}] compares a variant with itself, or stands there twice"
            )
        same = next((names for names in self.recovered if len(set(names)) < len(names)), None)
        if same is not None:
            raise ValueError(f"recovered: [{', '.join(same)}] must be three: student, baseline, teacher")
        return self

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        if self.seeds is not None and len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: each may stand there once")
        return self

    @model_validator(mode="after")
    def _seeds_are_the_familys(self) -> Self:
        for name, settings in self.variants.items():
            if any(key.strip() in {"seed", self.seed_key} for key in settings or {}):
                raise ValueError(f"variants.{name}: the seed is set by `seeds`, for all variants alike")
        return self


@dataclass(frozen=True)
class Member:
    """One run of a family.

    Attributes:
        variant: name of its variant.
        seed: its seed.
        recipe: what it runs.
    """

    variant: str
    seed: int
    recipe: Recipe

    @property
    def folder(self) -> Path:
        """Where it runs, in the folder of the family."""
        return Path(self.variant) / f"seed-{self.seed}"


@dataclass(frozen=True)
class Family:
    """Variants of a recipe and the seeds with which each runs.

    Attributes:
        name: of the family.
        source: its file.
        recipe: the recipe that the variants are made from.
        seeds: the seeds.
        variants: name to what it changes in the recipe.
        compare: pairs of variants.
        systems: variant to the systems that may stand for it, for those that name some: the first that a
            table has.
        recovered: triples of variants: student, baseline, teacher.
        members: the runs: all variants with the first seed, then with the next.
    """

    name: str
    source: Path
    recipe: Recipe
    seeds: tuple[int, ...]
    variants: Mapping[str, Mapping[str, Any]]
    compare: tuple[tuple[str, str], ...]
    systems: Mapping[str, tuple[str, ...]]
    recovered: tuple[tuple[str, str, str], ...]
    members: tuple[Member, ...]


def load_family(path: Path | str, overrides: Sequence[str] = (), *, recipe: Path | None = None) -> Family:
    """Reads and checks a family and all of its recipes.

    Relative paths in a variant's settings are taken from the recipe's folder, as in the recipe itself.

    Args:
        path: the YAML file.
        overrides: `key=value`, over what the recipe says, for all variants; what a variant sets goes before.
        recipe: takes the place of the family's own recipe. The name of the family tells both.

    Raises:
        InputError: not YAML, an unknown key, a name that no variant has, a recipe that is wrong, a variant
            that makes it wrong or that changes what is measured, an override of the seed.

    Example:
        >>> load_family("losses.yaml", ["training.epochs=1"])  # doctest: +SKIP
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            "there is no such family", path=path, expected="a YAML file: a recipe and variants of it"
        )
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(
            "not a family", path=path, expected="a mapping with the keys 'recipe' and 'variants'"
        )
    if "variants" not in content and ("data" in content or "pairs" in content):
        raise InputError(
            "this is a recipe, and no family of several",
            path=path,
            remedy=f"run `limbeck run {path}`, or `limbeck family FAMILY --recipe {path}` for its variants",
        )
    if recipe is not None:
        content["recipe"] = str(recipe.resolve())
    file = _checked(content, path)
    made = make_recipe(recipe_content(file.recipe, overrides), file.recipe)
    _check_seeds(path, file, made, overrides)
    changed = [*([] if recipe is None else [made.name]), *overrides]
    if file.recovered and not made.pairs:
        raise InputError(
            "recovered: the recipe has no pairs", path=path, expected="a recipe with the section 'pairs'"
        )
    variants = {name: settings or {} for name, settings in file.variants.items()}
    seeds = file.seeds or (made.seed,)
    first = next(iter(variants))
    return Family(
        f"{file.name} ({', '.join(changed)})" if changed else file.name,
        path,
        made,
        seeds,
        variants,
        tuple((name, first) for name in variants if name != first) if file.compare is None else file.compare,
        file.systems,
        file.recovered,
        tuple(_members(path, file, made, seeds, overrides)),
    )


def _checked(content: dict[str, Any], path: Path) -> FamilyFile:
    try:
        return FamilyFile.model_validate(content, context={ORIGIN: path.parent})
    except ValidationError as error:
        keys = f"a family has the keys {', '.join(FamilyFile.model_fields)}"
        raise described(error, path, FamilyFile, keys) from error


def _check_seeds(path: Path, file: FamilyFile, recipe: Recipe, overrides: Sequence[str]) -> None:
    """Whether the seeds are the family's alone, and the recipe's student has the key that they set."""
    seeded = next(
        (one for one in overrides if one.partition("=")[0].strip() in {"seed", file.seed_key}), None
    )
    if seeded is not None:
        raise InputError(
            f"{seeded}: the seeds of a family stand in its file", path=path, remedy="set `seeds` there"
        )
    kind = _SEEDED.get(file.seed_key, recipe.student.kind)
    if recipe.student.kind != kind:
        raise InputError(
            f"seed_key: '{file.seed_key}' is a key of a {kind} student, not of a {recipe.student.kind} one",
            path=path,
            remedy="take a recipe with such a student, or set `seed_key: seed`",
        )


def _members(
    path: Path,
    file: FamilyFile,
    recipe: Recipe,
    seeds: tuple[int, ...],
    overrides: Sequence[str],
) -> Iterator[Member]:
    for seed in seeds:
        for name, settings in file.variants.items():
            try:
                # Read anew for each variant, since setting a key may change what a YAML alias shares.
                content = recipe_content(file.recipe, overrides)
                for key, value in {**(settings or {}), file.seed_key: seed}.items():
                    set_value(content, key, value)
                made = make_recipe(content, file.recipe)
                _require_same_measures(made, recipe)
            except InputError as error:
                raise InputError(
                    f"variants.{name}: {error.problem}",
                    path=path,
                    expected=error.expected,
                    remedy=error.remedy,
                ) from error
            yield Member(name, seed, made)


def _require_same_measures(variant: Recipe, recipe: Recipe) -> None:
    if variant.evaluation != recipe.evaluation:
        raise InputError(
            "it changes the section 'evaluation', and could not be compared with the others",
            remedy="set `evaluation` in the recipe, for all variants alike",
        )
    if (variant.data is None) != (recipe.data is None):
        raise InputError(
            "it takes the section 'data' away, or adds one, and could not be compared with the others"
        )
    if _measured_pairs(variant) != _measured_pairs(recipe):
        raise InputError(
            "it changes the sets of pairs that are measured, and could not be compared with the others",
            remedy="set the files and the labels of a set in the recipe, for all variants alike",
        )


def _measured_pairs(recipe: Recipe) -> dict[str, object]:
    """What is measured on, and not what is learnt: that may differ."""
    learnt = {"train", "task", "swap", "neighbours", "random", "unlabelled", "teacher"}
    return {name: one.model_dump(exclude=learnt) for name, one in recipe.pairs.items()}
