from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from limbeck.errors import InputError
from limbeck.pipeline.distilling import distil_settings
from limbeck.recipes import (
    BeirData,
    Bm25Member,
    CrossEncoderMember,
    D2LLMRecipe,
    ListLossRecipe,
    Recipe,
    RunMember,
    StdlibData,
    load_recipe,
    make_recipe,
    recipe_yaml,
)
from limbeck.recipes.generative import PUBLISHED_MARGINS

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a data set, a model and run files for recipes to name."""
    for name in ("set/qrels", "model"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("train.trec", "dev.trec", "test.trec"):
        (tmp_path / name).write_text("q Q0 p 1 1.0 x\n")
    return tmp_path


def load(folder: Path, text: str, *overrides: str) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, overrides)


def test_two_words_are_a_recipe(folder: Path):
    recipe = load(folder, "data: {kind: stdlib}\n")
    assert recipe == Recipe(data=StdlibData())
    assert recipe.mining.miners == ("bm25", "dense")
    assert [member.kind for member in recipe.teacher.members] == ["bm25", "bi-encoder", "cross-encoder"]


def test_layers_of_the_backbone_are_a_dense_student_s(folder: Path, refused):
    generative = "data: {kind: stdlib}\nstudent: {kind: generative}\nbackbone_layers: 2\n"
    refused(
        lambda: load(folder, generative), "backbone_layers belongs to a dense student", name="recipe.yaml"
    )
    negatives = "data: {kind: stdlib}\nstudent: {kind: generative}\nbaseline: {hard_negatives: null}\n"
    refused(lambda: load(folder, negatives), "this one is generative: say how many", name="recipe.yaml")
    # The whole backbone can teach its first layers, and not itself.
    alone = "data: {kind: stdlib}\nteacher: {members: [{kind: bi-encoder}]}\n"
    assert load(folder, alone + "backbone_layers: 2\n").backbone_layers == 2
    refused(lambda: load(folder, alone), "the student's own start", name="recipe.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 2", r"'epochs'.*did you mean 'training\.epochs' or 'baseline\.epochs' or "),
        ("learning_rate: 2", r"did you mean 'training\.learning_rate' or "),
        ("teacher: {kind: bm25}", r"'teacher\.kind'.* Expected: one of max_length, members\."),
        ("pair_loss: {kind: d2llm}", r"'pair_loss\.kind'.* Expected: one of batch_rank, [^?]*$"),
        ("teacher: {members: [{kind: cross-encoder, modl: x}]}", r"did you mean 'model'\?"),
        ("loss: {kind: kl_divergence, feature: 0}", r"'loss\.feature'.*: it is a key of kind: d2llm; "),
        (
            "teacher: {members: [{kind: bm25, model: x}]}",
            r"members\.0\.model'.*key of kind: .*cross-encoder or ",
        ),
        ("training: {epoch: 1, rate: 2}", r"'training\.epoch' \(and 1 more error\)"),
        ("pairs: {train: a, test: b, labels: {kind: graded}}", "pairs: the set needs a name"),
    ],
)
def test_what_was_meant_is_a_key_that_may_stand_there(folder: Path, text: str, message: str):
    with pytest.raises(InputError, match=message):
        load(folder, STDLIB + text + "\n")


def test_a_family_is_no_recipe(folder: Path):
    with pytest.raises(InputError, match=r"a family of recipes, and not one.*limbeck family"):
        load(folder, "name: f\nrecipe: x.yaml\nvariants: {a: {}}\n")


def test_a_temperature_that_would_starve_the_small_sets_is_refused(folder: Path):
    with pytest.raises(InputError, match=r"training\.task_temperature: .*greater than or equal to 1"):
        load(folder, STDLIB + "training: {task_temperature: 0.3}\n")


def test_a_truth_is_no_number_in_a_list_either(folder: Path):
    with pytest.raises(InputError, match=r"training: adam_betas has false, which is no number"):
        load(folder, STDLIB + "training: {adam_betas: [false, 0.9]}\n")


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ("{pooling: mean, pooling_start: random}", "pooling_start is of attention pooling"),
        ("{interaction: cosine, interaction_start: random}", "are of the interaction module"),
        ("{interaction: cosine, branches: shared}", "are of the interaction module"),
        ("{lora: {rank: 0}}", "student.lora.rank"),
    ],
)
def test_variants_of_the_student_that_contradict_each_other(
    folder: Path, refused, student: str, message: str
):
    text = f"data: {{kind: stdlib}}\nstudent: {student}\n"
    refused(lambda: load(folder, text), message, name="recipe.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "teacher: {members: [{kind: bm25}]}\nloss: {kind: d2llm, feature: 0.001}",
            "a teacher with features",
        ),
        ("student: {interaction: cosine}\nloss: {kind: d2llm, feature: 0.001}", "a cosine has none"),
        ("training: {hard_negatives: 0}\nloss: {kind: d2llm, feature: 0.001}", "hard_negatives is 0"),
        ("loss: {kind: d2llm, in_batch_teacher: true, hard_easy: 0}", "only hard_easy uses"),
        (
            "training: {batch_size: 1}\nloss: {kind: d2llm, in_batch_teacher: true}",
            r"loss\.in_batch_teacher needs batches",
        ),
        (
            "training: {hard_negatives: 0}\nloss: {kind: d2llm, in_batch_teacher: true}",
            "in_batch_teacher asks for scores that are compared with those of hard negatives",
        ),
        ("training: {hard_negatives: 0}\nloss: {kind: d2llm, in_batch: 0}", "need training.hard_negatives"),
        (
            "mining: {random: 0}\nloss: {kind: d2llm, contrastive: 0, rank: 0, in_batch: 0, hard_easy: 1}",
            "hard_easy needs mining.random above 0",
        ),
        ("loss: {kind: kl_divergence, feature: 0.001}", "unknown key 'loss.feature'"),
    ],
)
def test_what_a_teacher_cannot_give_is_refused(folder: Path, refused, text: str, message: str):
    refused(lambda: load(folder, f"data: {{kind: stdlib}}\n{text}\n"), message, name="recipe.yaml")


def test_a_run_file_scores_no_in_batch_pairs(folder: Path, refused):
    text = """
        data: {kind: beir, folder: set}
        mining: {random: 0, runs: {train: train.trec, dev: dev.trec, test: test.trec}}
        teacher: {members: [{kind: run, train: train.trec, dev: dev.trec, test: test.trec}]}
        loss: {kind: d2llm, in_batch_teacher: true}
        """
    refused(lambda: load(folder, text), "set loss.in_batch_teacher to false", name="recipe.yaml")


def test_keys_that_came_later_leave_the_settings_of_a_stage_as_they_were():
    plain = Recipe(data={"kind": "stdlib"}).student
    assert not plain.later & plain.settings.keys()
    changed = Recipe(data={"kind": "stdlib"}, student={"pooling": "mean"}).student
    assert changed.settings == plain.settings | {"pooling": "mean"}


def test_a_training_without_betas_of_its_own_has_the_key_that_it_had():
    plain = Recipe(data={"kind": "stdlib"})
    changed = Recipe(data={"kind": "stdlib"}, training={"adam_betas": [0.8, 0.999], "warmup_steps": 9})
    before, after = (distil_settings(recipe)[2] for recipe in (plain, changed))
    assert not plain.training.later & before.keys()
    assert after == before | {"adam_betas": [0.8, 0.999], "warmup_steps": 9}


def test_what_is_written_out_reads_back_as_the_same_recipe(folder: Path):
    recipe = load(
        folder,
        """
        name: 中文
        language: zh
        backbone: ./model
        data: {kind: beir, folder: set, dev: validation}
        mining: {random: 0, miners: [bm25], runs: {train: train.trec, dev: dev.trec, test: test.trec}}
        teacher:
          members:
            - {kind: run, train: train.trec, dev: dev.trec, test: test.trec}
            - {kind: cross-encoder, fine_tuning: {steps: 3}}
        loss: {kind: d2llm, temperature: 0.5}
        """,
    )
    elsewhere = folder / "run"
    elsewhere.mkdir()
    again = load(elsewhere, recipe_yaml(recipe))
    assert again == recipe
    assert "training" in yaml.safe_load(recipe_yaml(recipe))


def test_unions_are_told_apart_by_kind(folder: Path):
    recipe = load(
        folder,
        """
        data: {kind: beir, folder: set}
        teacher: {members: [{kind: bm25}, {kind: cross-encoder, model: org/reranker}]}
        loss: {kind: list_net, weight: 2}
        """,
    )
    assert isinstance(recipe.data, BeirData)
    assert recipe.teacher.members == (
        Bm25Member(kind="bm25"),
        CrossEncoderMember(kind="cross-encoder", model="org/reranker"),
    )
    assert recipe.loss == ListLossRecipe(kind="list_net", weight=2.0)
    assert isinstance(load(folder, "data: {kind: stdlib}\nloss: {kind: d2llm}").loss, D2LLMRecipe)


def test_relative_paths_count_from_the_folder_of_the_recipe(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "recipes").mkdir()
    monkeypatch.chdir(folder.parent)
    recipe = load(
        folder / "recipes",
        """
        data: {kind: beir, folder: ../set}
        backbone: ../model
        mining: {random: 0, runs: {train: ../train.trec, dev: ../dev.trec, test: ../test.trec}}
        teacher: {members: [{kind: run, train: ../train.trec, dev: ../dev.trec, test: ../test.trec}]}
        """,
    )
    assert isinstance(recipe.data, BeirData)
    assert isinstance(recipe.teacher.members[0], RunMember)
    assert recipe.data.folder == folder / "set"
    assert recipe.backbone == str(folder / "model")
    assert recipe.mining.runs["dev"] == folder / "dev.trec"
    assert recipe.teacher.members[0].test == folder / "test.trec"


def test_a_name_on_the_hub_stays_as_it_is(folder: Path):
    assert load(folder, "data: {kind: stdlib}\nbackbone: org/model").backbone == "org/model"


def test_settings_go_over_the_file(folder: Path):
    recipe = load(
        folder,
        "data: {kind: stdlib}\ntraining:\nteacher: {members: [{kind: bm25}, {kind: cross-encoder}]}",
        "training.epochs=2",
        "mining.miners=[bm25]",
        "loss={kind: d2llm}",
        "device=cpu",
        "teacher.members.1.fine_tuning.steps=7",
        "training.learning_rate=2e-5",
    )
    assert recipe.training.epochs == 2
    assert recipe.training.learning_rate == 2e-5
    assert recipe.mining.miners == ("bm25",)
    assert isinstance(recipe.loss, D2LLMRecipe)
    assert recipe.device == "cpu"
    member = recipe.teacher.members[1]
    assert isinstance(member, CrossEncoderMember)
    assert member.fine_tuning.steps == 7


STDLIB = "data: {kind: stdlib}\n"
RUNS = "{train: train.trec, dev: dev.trec, test: test.trec}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a recipe"),
        ("- 1\n", "not a recipe"),
        ("name: x\n", "the key 'data' is missing"),
        (STDLIB + "epochs: 2\n", "unknown key 'epochs'"),
        (STDLIB + "training: {epoch: 2}\n", r"unknown key 'training\.epoch'.*did you mean 'epochs'"),
        ("data: {kind: beir, folder: set, split: a}\n", r"unknown key 'data\.split'"),
        (STDLIB + "teacher: {members: [{kind: bm25, k: 1}]}", r"unknown key 'teacher\.members\.0\.k'"),
        (STDLIB + "training: {epochs: many}\n", r"training\.epochs: input should be a valid number"),
        (STDLIB + "training: {epochs: 0}\n", r"training\.epochs: input should be greater than 0"),
        (STDLIB + "training: {epochs: .inf}\n", r"training\.epochs: input should be a finite number"),
        (STDLIB + "training: {epochs: 0, batch_size: x}\n", r"training\.epochs.*\(and 1 more error\)"),
        (STDLIB + "training: 3\n", "training: this is a section"),
        (STDLIB + "mining: {miners: []}\n", r"mining\.miners"),
        (STDLIB + "mining: {false_negative_share: 2}\n", r"mining\.false_negative_share"),
        (STDLIB + "loss: {kind: hinge}\n", "loss: there is no kind 'hinge'.*'kl_divergence'"),
        (STDLIB + "loss: {in_batch: 0}\n", "loss: the key 'kind' is missing"),
        (
            STDLIB + "teacher: {members: [{kind: oracle}]}\n",
            r"teacher\.members\.0: there is no kind 'oracle'",
        ),
        ("data: {kind: web}\n", "data: there is no kind 'web'"),
        ("data: {kind: beir}\n", r"the key 'data\.folder' is missing"),
        (
            "data: {kind: beir, folder: nowhere}\n",
            r"data\.folder: there is no folder .*nowhere.*folder of this file",
        ),
        ("data: {kind: beir, folder: dev.trec}\n", r"data\.folder: there is no folder"),
        (STDLIB + "backbone: ./nowhere\n", "backbone: there is no folder"),
        (STDLIB + "backbone: ''\n", "backbone"),
        (STDLIB + "mining: {runs: {dev: nowhere.trec}}\n", r"mining\.runs\.dev: there is no file"),
        (STDLIB + "mining: {runs: {validation: dev.trec}}\n", r"mining\.runs\.validation"),
        (
            # A list of the positive alone is none: the passages of a batch come from the lists.
            STDLIB + "mining: {random: 0}\ntraining: {hard_negatives: 0}\nloss: {kind: list_net}\n",
            "no negatives",
        ),
        (STDLIB + "teacher: {members: [{kind: bi-encoder}]}\n", "the student's own start"),
        (
            STDLIB + "backbone: ./model\nteacher: {members: [{kind: bi-encoder, model: model}]}\n",
            "the student's own start",
        ),
        (STDLIB + "evaluation: {metrics: []}\n", r"evaluation\.metrics"),
        (STDLIB + "seed: -1\n", "seed: input should be greater than or equal to 0"),
        (STDLIB + "seed: 4294967296\n", "seed: input should be less than 4294967296"),
        (STDLIB + "language: true\n", "language: input should be a valid string.*put it in quotes"),
        (
            STDLIB + "loss: {kind: d2llm, contrastive: 0, rank: 0, hard_easy: 0, in_batch: 0}\n",
            "every weight of the loss is 0",
        ),
        (STDLIB + "evaluation: {depth: 50}\n", "evaluation.depth is 50, but a metric looks at 100"),
        (
            STDLIB + f"mining: {{runs: {RUNS}}}\nteacher: {{members: [{{kind: run, {RUNS[1:]}]}}\n",
            "set mining.random to 0",
        ),
        (
            STDLIB + f"mining: {{random: 0}}\nteacher: {{members: [{{kind: run, {RUNS[1:]}]}}\n",
            "name those of train, dev, test in mining.runs",
        ),
        (
            STDLIB
            + f"mining: {{random: 0, runs: {RUNS}}}\n"
            + "teacher: {members: [{kind: run, train: train.trec, dev: dev.trec}]}\n",
            "name its run of them under test",
        ),
    ],
)
def test_what_is_wrong_is_said_before_any_work(folder: Path, text: str, message: str):
    with pytest.raises(InputError, match=message) as caught:
        load(folder, text)
    assert str(folder / "recipe.yaml") in str(caught.value)


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ("{kind: generatve}", "student: there is no kind 'generatve'.*'generative'"),
        ("{heads: 4, kind: generative}", r"unknown key 'student\.heads'"),
        ("generative", r"yaml: student: this is a section of the recipe"),
        ("{kind: generative, views: []}", r"student\.views: tuple should have at least 1 item"),
        (
            f"{{kind: generative, search: {{candidates: {10**30}}}}}",
            r"yaml: student\.search: candidates is 1000.* too large for a whole number of 64 bits",
        ),
        ("{kind: generative, search: {beams: true}}", r"student\.search: beams is true, which is no number"),
        ("{kind: generative, views: [title]}", r"student\.views\.0: this is a section"),
        (
            "{kind: generative, ranking: {loss: list_net, published_margins: true}}",
            r"student\.ranking: published_margins is true, but the loss list_net has none",
        ),
        (
            "{kind: generative, views: [{kind: pseudo-query, sources: [{kind: training-queries}]}]}",
            "yaml: student: while rankings are learnt, training queries are no identifiers",
        ),
    ],
)
def test_what_is_wrong_with_a_generative_student_is_said(folder: Path, student: str, message: str):
    with pytest.raises(InputError, match=message):
        load(folder, STDLIB + f"student: {student}\n")


def test_training_queries_alone_may_be_identifiers_where_nothing_is_ranked(folder: Path):
    views = "[{kind: pseudo-query, sources: [{kind: training-queries}]}]"
    recipe = load(folder, STDLIB + f"student: {{kind: generative, views: {views}, ranking: null}}\n")
    assert [view.kind for view in recipe.student.views] == ["pseudo-query"]


def test_published_margins_are_those_of_the_losses_that_have_them(folder: Path):
    for loss in PUBLISHED_MARGINS:
        ranking = f"{{loss: {loss}, published_margins: true}}"
        recipe = load(folder, STDLIB + f"student: {{kind: generative, ranking: {ranking}}}\n")
        assert recipe.student.ranking.published_margins


def test_a_run_file_may_leave_out_the_test_queries_that_are_not_asked(folder: Path):
    load(
        folder,
        STDLIB
        + "evaluation: {split: dev}\n"
        + "mining: {random: 0, runs: {train: train.trec, dev: dev.trec}}\n"
        + "teacher: {members: [{kind: run, train: train.trec, dev: dev.trec}]}\n",
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=2", r"unknown key 'training\.epoch'"),
        ("training.epochs=two", "training.epochs"),
        ("training.epochs", "cannot read the setting"),
        ("seed.value=1", "cannot set 'seed.value'"),
    ],
)
def test_a_wrong_setting_is_an_error(folder: Path, override: str, message: str):
    with pytest.raises(InputError, match=message):
        load(folder, STDLIB + "seed: 1\n", override)


def test_a_missing_recipe_is_an_error(tmp_path: Path):
    with pytest.raises(InputError, match="there is no such recipe"):
        load_recipe(tmp_path / "none.yaml")


def test_a_recipe_cannot_be_changed_under_way():
    recipe = make_recipe({"data": {"kind": "stdlib"}}, Path("recipe.yaml"))
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", sorted(path.name for path in (REPOSITORY / "recipes").glob("*.yaml")))
def test_every_recipe_of_the_project_is_sound(project_recipes: Path, name: str):
    assert load_recipe(project_recipes / name).name


def test_reading_a_recipe_needs_no_torch():
    code = "import limbeck.recipes, sys; sys.exit('torch' in sys.modules or 'pyarrow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_prompt_is_written_as_its_page_says(folder: Path):
    page = (REPOSITORY / "docs" / "llm-teachers.md").read_text(encoding="utf-8")
    prompts = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "template:" in block]
    assert len(prompts) == 2
    for prompt in prompts:
        member = textwrap.indent("kind: llm\nmodel: org/llm\n" + prompt, "      ")
        recipe = load(folder, f"data: {{kind: stdlib}}\nteacher:\n  members:\n    -\n{member}")
        assert recipe.teacher.members[0].question.yes in {("true",), ("yes",)}
        written = load(folder, recipe_yaml(recipe))
        assert written == recipe
