from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import CrossEncoder

from limbeck.encoders import load_cross_encoder
from limbeck.errors import InputError
from limbeck.pipeline import preflight
from limbeck.recipes import Recipe, make_recipe
from tests.pipeline.pairs.tiny_pairs import pair_recipe, set_content, write_pairs
from tests.pipeline.tiny_corpus import run_recipe, tiny_recipe


@pytest.fixture
def own(corpus: Path, tmp_path: Path) -> Path:
    """A copy of the data, to be spoilt."""
    return Path(shutil.copytree(corpus, tmp_path / "corpus"))


def recipe(corpus: Path, encoder: Path, **changes: object) -> Recipe:
    return tiny_recipe(corpus, encoder, **changes)


def refused(recipe: Recipe, folder: Path, message: str, *, until: str | None = None) -> None:
    """The run ends with the message, and nothing was begun."""
    with pytest.raises(InputError, match=message):
        run_recipe(recipe, folder, until=until)
    assert {file.name for file in folder.iterdir()} <= {".lock", "log.txt"}


def test_an_unknown_metric_is_found_before_any_work(corpus: Path, tiny_encoder_path: Path, tmp_path: Path):
    wrong = recipe(corpus, tiny_encoder_path, evaluation={"metrics": ["nDGC@10"]})
    refused(wrong, tmp_path / "run", "unknown metric 'nDGC@10'")


def test_an_unknown_language_is_found_before_any_work(corpus: Path, tiny_encoder_path: Path, tmp_path: Path):
    wrong = recipe(corpus, tiny_encoder_path, language="klingon")
    refused(wrong, tmp_path / "run", "no tokenizer for the language 'klingon'")


@pytest.mark.parametrize(("language", "package"), [("zh-jieba", "jieba"), ("ja-janome", "janome.tokenizer")])
def test_a_missing_word_segmenter_is_found_before_any_work(
    own: Path,
    tiny_encoder_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    language: str,
    package: str,
):
    monkeypatch.setitem(sys.modules, package, None)
    refused(recipe(own, tiny_encoder_path, language=language), tmp_path / "run", "is not installed")


def test_a_missing_report_extra_is_found_before_any_work(
    corpus: Path, tiny_encoder_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    refused(recipe(corpus, tiny_encoder_path), tmp_path / "run", r"limbeck\[report\]")
    # Who only mines needs no report.
    run_recipe(recipe(corpus, tiny_encoder_path), tmp_path / "mined", until="data")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("qrels/dev.tsv", r"neither qrels/dev\.tsv nor .*there are test, train"),
        ("corpus.jsonl", "neither corpus.jsonl nor corpus.jsonl.gz"),
        ("queries.jsonl", "neither queries.jsonl"),
        ("qrels", r"neither qrels/train\.tsv.*there are none"),
    ],
)
def test_a_missing_part_of_the_data_is_found_before_any_work(
    own: Path, tiny_encoder_path: Path, tmp_path: Path, missing: str, message: str
):
    path = own / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    refused(recipe(own, tiny_encoder_path), tmp_path / "run", message)


def test_splits_go_by_the_names_that_the_recipe_gives(own: Path, tiny_encoder_path: Path, tmp_path: Path):
    (own / "qrels" / "dev.tsv").rename(own / "qrels" / "validation.tsv")
    data = {"kind": "beir", "folder": str(own), "dev": "validation"}
    record = run_recipe(recipe(own, tiny_encoder_path, data=data), tmp_path / "run", until="data")
    assert record.notes == ["60 passages; queries: 40 train, 15 dev, 15 test"]


def write_chinese(folder: Path) -> None:
    lines = [json.dumps({"_id": f"p{at}", "text": "公司应当支付加班工资 ABC"}) for at in range(3)]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_language_that_does_not_fit_the_script_is_found(own: Path, tiny_encoder_path: Path, tmp_path: Path):
    write_chinese(own)
    wrong = recipe(own, tiny_encoder_path, language="en")
    refused(wrong, tmp_path / "run", r"the language is 'en', but 77% of the corpus.*zh, ja or ko")


@pytest.mark.parametrize("language", ["zh", "ja", "ko", "none"])
def test_a_language_that_fits_is_not_found_fault_with(own: Path, tiny_encoder_path: Path, language: str):
    write_chinese(own)
    preflight.check_language(recipe(own, tiny_encoder_path, language=language))


def test_heads_that_do_not_divide_are_found_before_any_work(
    corpus: Path, tiny_encoder_path: Path, tmp_path: Path
):
    wrong = recipe(corpus, tiny_encoder_path, student={"heads": 5})
    refused(wrong, tmp_path / "run", "heads is 5.*32 dimensions")


def test_a_backbone_that_does_not_load_is_found_before_any_work(corpus: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    refused(recipe(corpus, tmp_path / "empty"), tmp_path / "run", "could not be loaded", until="mine")


@pytest.mark.parametrize(
    ("content", "package", "extra"),
    [
        ({"data": {"kind": "hub", "name": "BeIR/scifact"}}, "datasets", "hub"),
        ({"data": {"kind": "ir_datasets", "train": "a", "dev": "b", "test": "c"}}, "ir_datasets", "hub"),
    ],
)
def test_what_would_fetch_data_must_be_installed(
    monkeypatch: pytest.MonkeyPatch, content: dict[str, object], package: str, extra: str
):
    find = importlib.util.find_spec
    monkeypatch.setattr(preflight, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(InputError, match=rf"'{package}', which is not installed.*limbeck\[{extra}\]"):
        preflight.check_data(make_recipe(content, Path("recipe.yaml")))


def test_tensorboard_must_be_installed_when_it_is_wanted(
    corpus: Path, tiny_encoder_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    wanted = recipe(corpus, tiny_encoder_path, training={"tensorboard": True})
    with pytest.raises(InputError, match=r"limbeck\[tensorboard\]"):
        preflight.check_student(wanted)


def test_a_device_that_is_not_there_is_found_before_any_work(
    corpus: Path, tiny_encoder_path: Path, tmp_path: Path
):
    wrong = recipe(corpus, tiny_encoder_path, device="quantum")
    refused(wrong, tmp_path / "run", "the device 'quantum' cannot be used")


@pytest.mark.parametrize("kind", ["cross-encoder", "bi-encoder", "late-interaction"])
def test_a_member_that_does_not_load_is_found_before_any_work(
    corpus: Path, tiny_encoder_path: Path, tmp_path: Path, kind: str
):
    (tmp_path / "empty").mkdir()
    members = [{"kind": "bm25"}, {"kind": kind, "model": str(tmp_path / "empty")}]
    wrong = recipe(corpus, tiny_encoder_path, teacher={"members": members})
    refused(wrong, tmp_path / "run", r"^teacher\.members\.1: .*loaded")


def test_what_a_member_is_tuned_from_is_loaded_before_any_work(
    corpus: Path, tiny_encoder_path: Path, tmp_path: Path
):
    (tmp_path / "empty").mkdir()
    tuning = {"fine_tuning": {"base": str(tmp_path / "empty")}}
    members = [{"kind": "bm25"}, {"kind": "cross-encoder"} | tuning]
    wrong = recipe(corpus, tiny_encoder_path, teacher={"members": members})
    refused(wrong, tmp_path / "run", r"^teacher\.members\.1\.fine_tuning\.base: .*loaded")
    # The tiny encoder has 128 positions.
    members = [{"kind": "cross-encoder", "fine_tuning": {"base": str(tiny_encoder_path)}}]
    wrong = recipe(corpus, tiny_encoder_path, teacher={"members": members, "max_length": 129})
    refused(wrong, tmp_path / "long", r"^teacher\.members\.0\.fine_tuning\.base: .*at most 128 tokens")


class FirstUnit(torch.nn.Module):
    """A head that is no linear layer."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states[..., :1]


@pytest.fixture
def featureless(tiny_cross_encoder_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The members of a teacher: a given cross-encoder whose head shows no features."""

    def load(*arguments: Any, **options: Any) -> CrossEncoder:
        model = load_cross_encoder(*arguments, **options)
        model.model.classifier = FirstUnit()
        return model

    monkeypatch.setattr(preflight, "load_cross_encoder", load)
    return [{"kind": "cross-encoder", "model": str(tiny_cross_encoder_path)}]


def test_a_cross_encoder_without_features_is_found_before_any_work(
    corpus: Path, tiny_encoder_path: Path, tmp_path: Path, featureless: list[dict[str, object]]
):
    teacher = {"max_length": 32, "members": featureless}
    loss = {"kind": "d2llm", "feature": 1.0}
    wrong = recipe(corpus, tiny_encoder_path, teacher=teacher, loss=loss)
    refused(wrong, tmp_path / "run", r"^teacher\.members\.0: .*no features to imitate")
    preflight.check_teacher(recipe(corpus, tiny_encoder_path, teacher=teacher))


def test_a_cross_encoder_of_pairs_without_features_is_found_before_any_work(
    tiny_encoder_path: Path, tmp_path: Path, featureless: list[dict[str, object]]
):
    pairs = write_pairs(tmp_path / "pairs")
    sets = {"tiny": set_content(pairs, teacher={"members": [featureless[0] | {"max_length": 32}]})}
    wrong = pair_recipe(pairs, tiny_encoder_path, pairs=sets, pair_loss={"feature": 1.0})
    refused(wrong, tmp_path / "run", r"^pairs\.tiny\.teacher\.members\.0: .*no features to imitate")
    preflight.check_pair_teachers(pair_recipe(pairs, tiny_encoder_path, pairs=sets))


@pytest.mark.parametrize("member", [{"kind": "cross-encoder"}, {"kind": "bi-encoder", "fine_tuned": True}])
def test_what_a_member_of_pairs_is_tuned_from_is_loaded_before_any_work(
    tiny_encoder_path: Path, tmp_path: Path, member: dict[str, object]
):
    (tmp_path / "empty").mkdir()
    pairs = write_pairs(tmp_path / "pairs")
    tuning = {"fine_tuning": {"base": str(tmp_path / "empty")}}
    sets = {"tiny": set_content(pairs, teacher={"members": [member | tuning]})}
    wrong = pair_recipe(pairs, tiny_encoder_path, pairs=sets)
    refused(wrong, tmp_path / "run", r"^pairs\.tiny\.teacher\.members\.0\.fine_tuning\.base: .*loaded")


@pytest.mark.parametrize("kind", ["cross-encoder", "bi-encoder", "late-interaction", "llm"])
def test_a_filter_that_does_not_load_is_found_before_any_work(
    own: Path, tiny_encoder_path: Path, tmp_path: Path, kind: str
):
    (tmp_path / "empty").mkdir()
    teacher = {"kind": kind, "model": str(tmp_path / "empty")}
    data = {"kind": "corpus", "file": str(own / "corpus.jsonl"), "queries": {"filter": {"teacher": teacher}}}
    wrong = recipe(own, tiny_encoder_path, data=data)
    refused(wrong, tmp_path / "run", r"^data\.queries\.filter\.teacher: .*loaded", until="sift")


@pytest.mark.parametrize("kind", ["cross-encoder", "bi-encoder"])
def test_a_teacher_of_pairs_that_does_not_load_is_found_before_any_work(
    tiny_encoder_path: Path, tmp_path: Path, kind: str
):
    (tmp_path / "empty").mkdir()
    pairs = write_pairs(tmp_path / "pairs")
    teacher = {"members": [{"kind": kind, "model": str(tmp_path / "empty")}]}
    wrong = pair_recipe(pairs, tiny_encoder_path, pairs={"tiny": set_content(pairs, teacher=teacher)})
    refused(wrong, tmp_path / "run", r"^pairs\.tiny\.teacher\.members\.0: .*loaded")
