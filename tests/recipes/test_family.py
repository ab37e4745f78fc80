from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from limbeck.errors import InputError
from limbeck.recipes import GenerativeStudentRecipe
from limbeck.recipes.family import Family, load_family

FAMILIES = Path(__file__).resolve().parents[2] / "recipes" / "families"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe with a model beside it, and an empty folder for families."""
    (tmp_path / "base" / "model").mkdir(parents=True)
    (tmp_path / "base" / "recipe.yaml").write_text(
        "data: {kind: stdlib}\nseed: 5\nstudent: {kind: generative, ranking: {epochs: 2}}\n"
    )
    (tmp_path / "families").mkdir()
    return tmp_path / "families"


def load(folder: Path, text: str) -> Family:
    path = folder / "losses.yaml"
    path.write_text("name: losses\nrecipe: ../base/recipe.yaml\n" + dedent(text))
    return load_family(path)


def ranking(family: Family, member: int) -> object:
    student = family.members[member].recipe.student
    assert isinstance(student, GenerativeStudentRecipe)
    return student.ranking


def test_a_recipe_is_no_family(folder: Path):
    with pytest.raises(InputError, match=r"a recipe, and no family of several.*limbeck run"):
        load_family(folder.parent / "base" / "recipe.yaml")


def test_variants_set_keys_of_the_recipe_as_the_command_line_does(folder: Path):
    family = load(
        folder,
        """
        variants:
          base: {student.ranking: null}
          ltrgr: {student.ranking.loss: positive_margin, backbone: model}
          dgr:
        """,
    )
    assert [member.variant for member in family.members] == ["base", "ltrgr", "dgr"]
    assert ranking(family, 0) is None
    assert (ranking(family, 1).loss, ranking(family, 1).epochs) == ("positive_margin", 2.0)
    assert family.members[1].recipe.backbone == str(folder.parent / "base" / "model")
    assert family.members[2].recipe == family.recipe


def test_what_is_set_for_all_variants_comes_after_what_a_variant_sets(folder: Path):
    load(folder, "variants: {a: {}, b: {student.ranking.epochs: 4}}")
    family = load_family(folder / "losses.yaml", ["student.ranking.epochs=3", "student.ranking.seed=1"])
    assert [ranking(family, member).epochs for member in (0, 1)] == [3.0, 4.0]
    assert ranking(family, 1).seed == 1
    with pytest.raises(InputError, match=r"ranking\.epoch'.*did you mean"):
        load_family(folder / "losses.yaml", ["student.ranking.epoch=3"])
    with pytest.raises(InputError, match="seeds of a family stand in its file"):
        load_family(folder / "losses.yaml", ["seed=3"])


def test_another_recipe_can_take_the_place_of_the_familys(folder: Path):
    other = folder.parent / "other" / "recipe.yaml"
    (other.parent / "model").mkdir(parents=True)
    other.write_text("name: other\ndata: {kind: stdlib}\nseed: 7\nstudent: {kind: generative}\n")
    load(folder, "variants: {a: {}, b: {backbone: model}}")
    family = load_family(folder / "losses.yaml", ["name=another"], recipe=other)
    assert family.name == "losses (another, name=another)"
    assert (family.recipe.name, family.seeds) == ("another", (7,))
    assert family.members[1].recipe.backbone == str(other.parent / "model")
    with pytest.raises(InputError, match="there is no file"):
        load_family(folder / "losses.yaml", recipe=folder / "none.yaml")
    (folder.parent / "base" / "recipe.yaml").unlink()  # it is not needed
    assert load_family(folder / "losses.yaml", recipe=other).recipe.name == "other"


def test_a_seed_key_that_the_student_does_not_have_is_named(folder: Path):
    with pytest.raises(InputError, match=r"'training\.seed' is a key of a dense student"):
        load(folder, "variants: {a: {}}\nseed_key: training.seed")


def test_the_seed_is_the_recipes_unless_there_are_others(folder: Path):
    family = load(folder, "variants: {a: {}, b: {name: other}}")
    assert family.seeds == (5,)
    assert family.members[0].folder == Path("a/seed-5")
    family = load(folder, "variants: {a: {}, b: {name: other}}\nseeds: [0, 7]")
    assert [(member.seed, member.variant) for member in family.members] == [
        (0, "a"),
        (0, "b"),
        (7, "a"),
        (7, "b"),
    ]
    assert [member.recipe.seed for member in family.members] == [0, 0, 7, 7]


def test_seeds_may_be_of_the_ranking_alone(folder: Path):
    family = load(folder, "variants: {a: {}}\nseeds: [0, 7]\nseed_key: student.ranking.seed")
    assert [member.recipe.seed for member in family.members] == [5, 5]
    rankings = [member.recipe.student.ranking for member in family.members]  # type: ignore[union-attr]
    assert [ranking.seed for ranking in rankings if ranking] == [0, 7]
    with pytest.raises(InputError, match=r"variants\.a: the seed is set by `seeds`"):
        load(folder, "variants: {a: {student.ranking.seed: 1}}\nseed_key: student.ranking.seed")


def test_seeds_may_be_of_a_dense_students_training_alone(folder: Path):
    (folder.parent / "base" / "recipe.yaml").write_text("data: {kind: stdlib}\nseed: 5\n")
    family = load(folder, "variants: {a: {}}\nseeds: [0, 7]\nseed_key: training.seed")
    assert [member.recipe.seed for member in family.members] == [5, 5]
    assert [member.recipe.training_seed for member in family.members] == [0, 7]
    assert family.recipe.training_seed == 5


def test_every_variant_is_compared_with_the_first_unless_pairs_are_named(folder: Path):
    variants = "variants: {a: {}, b: {name: b}, c: {name: c}}\n"
    assert load(folder, variants).compare == (("b", "a"), ("c", "a"))
    assert load(folder, variants + "compare: [[c, b]]").compare == (("c", "b"),)
    assert load(folder, variants + "compare: []").compare == ()


def test_a_variant_leaves_the_others_alone(folder: Path):
    (folder.parent / "base" / "recipe.yaml").write_text(
        "data: {kind: stdlib}\ntraining: &same {batch_size: 8}\nbaseline: *same\n"
    )
    family = load(folder, "variants: {a: {training.batch_size: 4}, b: {}}")
    assert [member.recipe.training.batch_size for member in family.members] == [4, 8]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants: {a: {}}\nseed: [1]", r"unknown key 'seed'.*did you mean 'seeds'"),
        ("seeds: [1]", r"the key 'variants' is missing.*a family has the keys name, recipe"),
        ("variants: {}", "variants: dictionary should have at least 1 item"),
        ("variants: {a/b: {}}", r"variants\.a/b.*should match pattern"),
        ("variants: {1: {}}", r"variants\.1.*quotes"),
        ("variants: {a: {}}\nseeds: [1, 1]", "seeds: each may stand there once"),
        ("variants: {a: {}}\nseeds: []", "seeds: .*at least 1 item"),
        ("variants: {a: {}}\nseeds: [-1]", r"seeds\.0: .*greater than or equal to 0"),
        ("variants: {a: {}}\ncompare: [[a, b]]", "no variant 'b', only a"),
        ("variants: {a: {}}\nsystems: {c: bm25}", "no variant 'c'"),
        ("variants: {a: {}}\ncompare: [[a, a]]", r"\[a, a\] compares a variant with itself"),
        ("variants: {a: {}, b: {}}\ncompare: [[a, b], [a, b]]", r"\[a, b\].*stands there twice"),
        ("variants: {a: {seed: 1}}", r"variants\.a: the seed is set by `seeds`"),
        ("variants: {a: {}, b: {student.rankin: 1}}", r"variants\.b: unknown key 'student.rankin'"),
        ("variants: {b: {student..x: 1}}", r"variants\.b: cannot read the key"),
        ("variants: {b: {evaluation.depth: 200}}", r"variants\.b: it changes the section 'evaluation'"),
        ("variants: {a: {}}\nrecipe2: x", "unknown key 'recipe2'.*did you mean 'recipe'"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(folder: Path, text: str, message: str):
    with pytest.raises(InputError, match=message) as caught:
        load(folder, text)
    assert Path(caught.value.path or "").name == "losses.yaml"


def test_files_that_are_not_there_or_say_something_else(folder: Path):
    path = folder / "losses.yaml"
    with pytest.raises(InputError, match="no such family"):
        load_family(path)
    path.write_text("- a\n")
    with pytest.raises(InputError, match="not a family"):
        load_family(path)
    path.write_text("name: x\nrecipe: nowhere.yaml\nvariants: {a: {}}\n")
    with pytest.raises(InputError, match=r"recipe: there is no file .*nowhere.*folder of this file"):
        load_family(path)


def test_a_recipe_that_is_wrong_is_named_itself(folder: Path):
    (folder.parent / "base" / "recipe.yaml").write_text("data: {kind: stdlib}\nsed: 5\n")
    with pytest.raises(InputError, match=r"recipe\.yaml: unknown key 'sed'"):
        load(folder, "variants: {a: {}}")


@pytest.mark.parametrize("name", sorted(path.name for path in FAMILIES.glob("*.yaml")))
def test_every_family_of_the_project_is_sound(project_recipes: Path, name: str):
    family = load_family(project_recipes / "families" / name)
    assert len(family.members) == len(family.variants) * len(family.seeds)
