"""Language models as teachers of pairs: asked as they are, fine-tuned on the labels, found wanting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer

from limbeck.errors import InputError
from limbeck.evaluation.pair_scores import read_pair_scores
from limbeck.pipeline import Run, RunFolder, stages_of
from limbeck.pipeline.pairs.members import open_member
from limbeck.pipeline.pairs.teaching import taught_scores
from limbeck.pipeline.run import stage_keys
from limbeck.recipes import PairLLMMember, Recipe, load_recipe
from limbeck.teachers.llm import PROMPTS, LLMTeacher, load_language_model
from limbeck.teachers.llm.fine_tuning import LabelledPair, LoRATuning, fine_tune_llm
from tests.pipeline.pairs.tiny_pairs import pair_recipe, set_content
from tests.pipeline.tiny_corpus import run_recipe
from tests.tiny_models import tiny_llm

RECIPES = Path(__file__).parents[3] / "recipes"
PROMPT = {"template": "{query}\n{passage}\nAnswer:", "yes": ["yes"], "no": ["no"]}
#: So much that the tiny model learns the training pairs by heart: 38 steps.
LORA = {"epochs": 12.5, "batch_size": 16, "learning_rate": 2e-2, "dropout": 0, "checkpoint_every": 20}


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llm(tmp_path_factory.mktemp("llm") / "model")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, pairs: Path, llm: Path) -> Path:
    """A model that was fine-tuned elsewhere."""
    learnt = [LabelledPair(*row[:2], float(row[2]) / 4) for row in rows(pairs, "train")]
    settings = LoRATuning(steps=38, batch_size=16, learning_rate=2e-2, dropout=0)
    folder = tmp_path_factory.mktemp("elsewhere")
    return fine_tune_llm(
        llm, learnt, folder, PROMPTS["symmetric", "en"], settings, max_length=200, device="cpu"
    )


def rows(folder: Path, split: str) -> list[list[str]]:
    return [line.split("\t") for line in (folder / f"{split}.tsv").read_text().splitlines()[1:]]


def llm_recipe(
    pairs: Path, encoder: Path, llm: Path, member: dict[str, Any], *others: dict[str, Any], **changes: Any
) -> Recipe:
    """Of a set whose teacher is an LLM and, so that one goes with the labels, others."""
    members = [{"kind": "llm", "model": str(llm), "max_length": 200} | member, *others]
    one = set_content(pairs, teacher={"members": members}, **changes)
    return pair_recipe(pairs, encoder, pairs={"tiny": one})


@pytest.mark.slow
@pytest.mark.parametrize("tuned", [False, True])
def test_a_run_from_labels_to_figures(
    pairs: Path, tiny_encoder_path: Path, llm: Path, adapter: Path, tmp_path: Path, tuned: bool
):
    member = {"fine_tuning": LORA} if tuned else {"model": str(adapter)}
    # The dev pairs are those that it has learnt: a tiny model knows no others.
    recipe = llm_recipe(pairs, tiny_encoder_path, llm, member, dev=str(pairs / "train.tsv"))
    folder = tmp_path / "run"
    record = run_recipe(recipe, folder, anyway=True)
    assert record.tasks.get("tiny: fine-tuning the LLM") == (38 if tuned else None)  # 12.5 times 48 / 16
    own = folder / "pair-teacher" / "tiny" / "member-0" / "model"
    assert (own / "adapter_config.json").is_file() == tuned
    taught = taught_scores(Run(recipe, RunFolder(folder)), "tiny")
    assert taught.shape == (48, 4)
    labels = [float(row[2]) for row in rows(pairs, "train")]
    assert spearmanr(taught[:, 0], labels).statistic > 0.7
    # What was asked is the built-in question of the set's task, and the calibration keeps the order.
    model = load_language_model(own if tuned else adapter, device="cpu")
    teacher = LLMTeacher(model, PROMPTS["symmetric", "en"], max_length=200)
    logits = teacher.score([(row[0], row[1]) for row in rows(pairs, "test")])
    found = read_pair_scores(folder / "pairs" / "scores" / "tiny" / "teacher.tsv")["test"].scores
    assert spearmanr(found, logits).statistic == pytest.approx(1, abs=1e-3)
    assert not run_recipe(recipe, folder).done


@pytest.mark.parametrize("task", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_question_is_that_of_the_task_and_the_language(
    pairs: Path, tiny_encoder_path: Path, llm: Path, tmp_path: Path, task: str, language: str
):
    recipe = llm_recipe(pairs, tiny_encoder_path, llm, {"language": language}, task=task)
    member = recipe.pairs["tiny"].teacher.members[0]
    teacher = open_member(Run(recipe, RunFolder(tmp_path / "run")), "tiny", member, tmp_path)
    assert teacher.prompt.startswith(PROMPTS[task, language].template)
    assert PROMPTS[task, language].yes[0] in teacher.prompt.partition("[yes: ")[2]


def with_long_texts(pairs: Path, folder: Path) -> dict[str, str]:
    """The training and dev pairs, of which three and two have a second text that is too long."""
    splits = {}
    for split, long in (("train", 3), ("dev", 2)):
        header, *rows = (pairs / f"{split}.tsv").read_text().splitlines()
        for at in range(long):
            first, second, *rest = rows[at].split("\t")
            rows[at] = "\t".join([first, f"{second} {at}" + " and a fish" * 40, *rest])
        path = folder / f"{split}.tsv"
        path.write_text("\n".join([header, *rows]) + "\n")
        splits[split] = str(path)
    return splits


def test_shortened_passages_are_counted_in_a_note(
    pairs: Path, tiny_encoder_path: Path, llm: Path, tmp_path: Path
):
    member = {"prompt": PROMPT, "max_length": 100}
    encoder = {"kind": "bi-encoder"}
    splits = with_long_texts(pairs, tmp_path)
    recipe = llm_recipe(pairs, tiny_encoder_path, llm, member, encoder, **splits, neighbours=0, random=0)
    notes = run_recipe(recipe, tmp_path / "run", until="pair-teach", anyway=True).notes
    assert "tiny: dev pairs: llm: passages shortened to fit the LLM's max_length: 2" in notes
    assert "tiny: training pairs: passages shortened to fit the LLM's max_length: 3" in notes
    assert sum("shortened" in note for note in notes) == 2
    # The same pairs with their features and a neighbour each, which are asked for first.
    recipe = llm_recipe(pairs, tiny_encoder_path, llm, member, encoder, **splits, neighbours=1, random=0)
    loss = recipe.pair_loss.model_copy(update={"feature": 0.001})
    recipe = recipe.model_copy(update={"pair_loss": loss})
    notes = run_recipe(recipe, tmp_path / "run", until="pair-teach", anyway=True).notes
    told = "tiny: features of the training pairs: llm: passages shortened to fit the LLM's max_length: "
    assert any(note.startswith(told) for note in notes)


@pytest.mark.parametrize("swap", [False, True])
def test_a_text_that_fills_the_context_is_found_before_a_teacher_is_made(
    pairs: Path, tiny_encoder_path: Path, llm: Path, tmp_path: Path, swap: bool
):
    header, first, *rest = (pairs / "train.tsv").read_text().splitlines()
    sides = first.split("\t")
    sides[1 if swap else 0] += " and a fish" * 80
    path = tmp_path / "train.tsv"
    path.write_text("\n".join([header, "\t".join(sides), *rest]) + "\n")
    tuned = {"kind": "bi-encoder", "fine_tuned": True}
    changes = {"train": str(path), "swap": swap}
    recipe = llm_recipe(pairs, tiny_encoder_path, llm, {"prompt": PROMPT}, tuned, **changes)
    with pytest.raises(InputError, match=r"the query '.*' leaves room for 0 tokens of a passage"):
        run_recipe(recipe, tmp_path / "run", anyway=True)
    assert not (tmp_path / "run" / "pair-teacher").exists()
    # As a second text it is shortened.
    if swap:
        changes["swap"] = False
        recipe = llm_recipe(pairs, tiny_encoder_path, llm, {"prompt": PROMPT}, **changes)
        run_recipe(recipe, tmp_path / "run", until="pair-teacher", anyway=True)


def test_a_text_without_labels_that_fills_the_context_is_found_though_the_teacher_is_made(
    pairs: Path, tiny_encoder_path: Path, llm: Path, tmp_path: Path
):
    path = tmp_path / "more.jsonl"
    path.write_text(json.dumps({"_id": "0", "text": "the sea" + " and a fish" * 80}) + "\n")
    run_recipe(
        llm_recipe(pairs, tiny_encoder_path, llm, {"prompt": PROMPT}),
        tmp_path / "run",
        until="pair-audit",
        anyway=True,
    )
    more = llm_recipe(pairs, tiny_encoder_path, llm, {"prompt": PROMPT}, unlabelled=str(path))
    for folder in (tmp_path / "run", tmp_path / "another"):
        with pytest.raises(InputError, match=r"the query '.*' leaves room for 0 tokens of a passage"):
            run_recipe(more, folder, anyway=True)
        assert not (folder / "pair-teach").exists()
    assert not (tmp_path / "another" / "pair-teacher").exists()
    # As a second text it is shortened.
    asymmetric = llm_recipe(
        pairs, tiny_encoder_path, llm, {"prompt": PROMPT}, unlabelled=str(path), task="asymmetric"
    )
    run_recipe(asymmetric, tmp_path / "run", until="pair-teach", anyway=True)


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        ({"max_length": 600}, "max_length is 600, but .* reads 512 tokens"),
        (
            {"prompt": {"template": "{query} {passage}?", "yes": ["!a"], "no": ["!b"]}},
            "'!a' and '!b' begin with the same token",
        ),
        ({"model": "no/such-model"}, "no language model can be loaded from 'no/such-model'"),
    ],
)
def test_an_llm_that_cannot_be_asked_is_found_before_any_work(
    pairs: Path, tiny_encoder_path: Path, llm: Path, tmp_path: Path, member: dict[str, Any], problem: str
):
    recipe = llm_recipe(pairs, tiny_encoder_path, llm, member)
    with pytest.raises(InputError, match=rf"pairs\.tiny\.teacher\.members\.0: {problem}"):
        run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "pair-data").exists()


def test_keys_that_a_recipe_refuses(pairs: Path, tiny_encoder_path: Path, llm: Path):
    with pytest.raises(InputError, match=r"unknown key 'pairs\.tiny\.teacher\.members\.0\.task'"):
        llm_recipe(pairs, tiny_encoder_path, llm, {"task": "symmetric"})  # the set says it
    with pytest.raises(InputError, match="`language` chooses a built-in question"):
        llm_recipe(pairs, tiny_encoder_path, llm, {"prompt": PROMPT, "language": "zh"})
    with pytest.raises(
        InputError, match=r"unknown key 'pairs\.tiny\.teacher\.members\.0\.fine_tuning\.negatives'"
    ):
        llm_recipe(pairs, tiny_encoder_path, llm, {"fine_tuning": {"negatives": 2}})


def test_the_teacher_is_made_again_when_the_model_changes(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path
):
    def keys() -> dict[str, str]:
        recipe = llm_recipe(pairs, tiny_encoder_path, tmp_path / "llm", {})
        assert isinstance(recipe.pairs["tiny"].teacher.members[0], PairLLMMember)
        return stage_keys(recipe, stages_of(recipe))

    tiny_llm(tmp_path / "llm", seed=0)
    before = keys()
    assert keys() == before
    tiny_llm(tmp_path / "llm", "llama", seed=1)
    changed = {name for name, key in keys().items() if key != before[name]}
    assert changed == {"pair-teacher", "pair-audit", "pair-teach", "distil", "pair-evaluate"}


@pytest.mark.slow
def test_the_published_recipe_with_one_model_as_teacher_and_backbone(pairs: Path, llm: Path, tmp_path: Path):
    small = {
        "backbone": llm,
        "max_length": 32,
        "device": "cpu",
        "pairs.stsb.teacher.members.0.model": llm,
        "pairs.stsb.teacher.members.0.max_length": 200,
        "pairs.stsb.teacher.members.0.fine_tuning": "{epochs: 1, checkpoint_every: 2}",
        "pairs.stsb.labels": "{kind: graded, low: 0, high: 4}",
        "student.heads": 2,
        "training.epochs": 1,
    }
    splits = {f"pairs.stsb.{split}": pairs / f"{split}.tsv" for split in ("train", "dev", "test")}
    overrides = [f"{key}={value}" for key, value in (small | splits).items()]
    recipe = load_recipe(RECIPES / "stsb_en-llm.yaml", overrides)
    run_recipe(recipe, tmp_path / "run", anyway=True)
    # The adapters are merged: the library loads the student without them.
    student = SentenceTransformer(str(tmp_path / "run" / "distil" / "student"), trust_remote_code=True)
    assert not any("lora" in name for name, _ in student.named_parameters())
    scores = sorted(path.stem for path in (tmp_path / "run" / "pairs" / "scores" / "stsb").iterdir())
    systems = ["backbone", "backbone-fine-tuned", "student-cosine", "student-interaction", "teacher"]
    assert scores == systems
