"""What the data tell: found before a model is trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limbeck.data.formats.qrels import read_qrels
from limbeck.errors import InputError
from limbeck.recipes import make_recipe
from tests.pipeline.tiny_corpus import Record, generative_content, run_recipe, tiny_recipe

TITLE = {"kind": "title"}
FILE = {"kind": "pseudo-query", "sources": [{"kind": "file", "path": "questions.tsv"}]}


@pytest.fixture
def own(corpus: Path, tmp_path: Path) -> Path:
    """A corpus that a test may change."""
    return Path(shutil.copytree(corpus, tmp_path / "corpus"))


def rewrite(corpus: Path, change: Callable[[int, dict[str, str]], dict[str, str]]) -> None:
    """Changes every passage, given its number."""
    path = corpus / "corpus.jsonl"
    passages = [json.loads(line) for line in path.read_text().splitlines()]
    changed = [passage | change(at, passage) for at, passage in enumerate(passages)]
    path.write_text("".join(json.dumps(passage) + "\n" for passage in changed))


def run(corpus: Path, encoder: Path, *, until: str = "mine", **changes: Any) -> Record:
    """Runs a recipe with a generative student; changes are keys of the recipe, or of its student."""
    content = generative_content(corpus, encoder)
    for key, value in changes.items():
        place = content if key in content or key == "language" else content["student"]
        place[key] = value
    return run_recipe(
        make_recipe(content, corpus / "recipe.yaml"), corpus.parent / "run", until=until, anyway=True
    )


def stages_done(corpus: Path) -> set[str]:
    return {path.parent.name for path in (corpus.parent / "run").glob("*/.done.json")}


def test_a_file_of_pseudo_queries_is_read_before_any_work(own: Path, tiny_encoder_path: Path):
    (own / "questions.tsv").write_text("p0\twhere is the cat\np0 where is the dog\n")
    with pytest.raises(InputError, match=r"questions\.tsv:2: .*expected a tab|questions\.tsv:2: "):
        run(own, tiny_encoder_path, until="generate", views=[TITLE, FILE])
    assert stages_done(own) == {"data"}
    (own / "questions.tsv").write_text("p0\twhere is the cat\nx\twhere is the dog\n")
    with pytest.raises(InputError, match=r"questions\.tsv:2: there is no passage 'x'"):
        run(own, tiny_encoder_path, until="generate", views=[TITLE, FILE])
    assert stages_done(own) == {"data"}


def test_a_run_file_of_the_teacher_is_read_before_any_work(own: Path, tiny_encoder_path: Path):
    files = {split: own / f"{split}.trec" for split in ("train", "dev", "test")}
    for split, file in files.items():
        file.write_text(f"{split}0 Q0 p0 1 2.5 given\n")
    member = {"kind": "run"} | {split: str(file) for split, file in files.items()}
    mining = {"runs": {split: str(file) for split, file in files.items()}, "random": 0}
    files["test"].write_text("test0 Q0 p0 1 2.5 given\ntest0 Q0 p999 2 1.5 given\n")
    with pytest.raises(InputError, match=r"test\.trec:2: passage 'p999' does not exist"):
        run(own, tiny_encoder_path, until="evaluate", teacher={"members": [member]}, mining=mining)
    assert stages_done(own) == {"data"}


def test_titles_alone_need_titles(own: Path, tiny_encoder_path: Path):
    rewrite(own, lambda at, passage: {"title": ""})
    with pytest.raises(InputError, match=r"of 60 passages that were looked at 0 have one, none of 20 tokens"):
        run(own, tiny_encoder_path, until="generate", views=[TITLE])
    assert stages_done(own) == {"data"}
    rewrite(own, lambda at, passage: {"title": "cat " * 21})
    with pytest.raises(InputError, match=r"looked at 60 have one, none of 20 tokens or less"):
        run(own, tiny_encoder_path, until="generate", views=[TITLE])


def test_few_titles_are_pointed_out(own: Path, tiny_encoder_path: Path):
    rewrite(own, lambda at, passage: {"title": "cat" if at < 15 else ""})
    record = run(own, tiny_encoder_path, until="generate")
    assert any(
        note.startswith("25% of the passages have a title of 20 tokens or less") for note in record.notes
    )


def test_a_corpus_in_a_script_that_the_tokenizer_does_not_know_is_refused(own: Path, tiny_encoder_path: Path):
    rewrite(own, lambda at, passage: {"title": "猫", "text": "蒸馏器是一种容器"})
    with pytest.raises(InputError, match=r"90% of the corpus's tokens are unknown to the tokenizer"):
        run(own, tiny_encoder_path, until="generate", language="zh")
    assert stages_done(own) == {"data"}
    # One of the nine tokens of each passage, its title and a full stop among them.
    rewrite(own, lambda at, passage: {"title": "cat", "text": "the cat and the dog of 猫"})
    record = run(own, tiny_encoder_path, until="generate")
    assert "11% of the corpus's tokens are unknown to the student's tokenizer" in record.notes


def test_queries_that_are_longer_than_the_model_are_refused_before_any_work(
    own: Path, tiny_encoder_path: Path
):
    # The tiny model reads 128 tokens: the query, its view's marker, and two of its own.
    with pytest.raises(InputError, match=r"max_query_length is 126, .* 129 .* 128\. Expected: 125 at most"):
        run(own, tiny_encoder_path, until="generate", max_query_length=126)
    with pytest.raises(InputError, match=r"max_length is 127, .*Expected: 126 at most"):
        run(own, tiny_encoder_path, until="generate", views=[TITLE | {"max_length": 127}])
    assert stages_done(own) == set()


def test_candidates_without_negatives_are_refused_before_the_teacher_is_asked(
    own: Path, tiny_encoder_path: Path
):
    judgements = read_qrels(own / "qrels" / "train.tsv")
    found = {query: judgements.relevant(query) for query in judgements.query_ids}

    def write() -> None:
        lines = (
            f"{query} Q0 {passage} {rank} {-rank} given\n"
            for query, passages in found.items()
            for rank, passage in enumerate(passages, start=1)
        )
        (own / "train.trec").write_text("".join(lines))

    mining = {"runs": {"train": str(own / "train.trec")}, "random": 0}
    write()
    with pytest.raises(
        InputError, match="nothing was found but relevant passages for any of the 20 training"
    ):
        run(own, tiny_encoder_path, until="own", mining=mining)
    assert "own" not in stages_done(own)
    found = {query: [*passages, "p0", "p1"][:2] for query, passages in found.items()}
    found[next(iter(found))] = found[next(iter(found))][:1]
    found = {query: list(dict.fromkeys(passages)) for query, passages in found.items()}
    write()
    student = generative_content(own, tiny_encoder_path)["student"]
    record = run(
        own, tiny_encoder_path, until="own", mining=mining, ranking=student["ranking"] | {"max_queries": 40}
    )
    alone = sum(len(passages) == 1 for passages in found.values())
    assert any(note.startswith(f"{alone} of 40 training queries found no passage") for note in record.notes)


def test_queries_without_a_relevant_passage_are_not_drawn(own: Path, tiny_encoder_path: Path):
    qrels = own / "qrels" / "train.tsv"
    heading, *lines = qrels.read_text().splitlines()
    unanswered = [line.rsplit("\t", 1)[0] + "\t0" for line in lines[3:20]]  # the last twenty: not judged
    qrels.write_text("\n".join([heading, *lines[:3], *unanswered]) + "\n")
    mining = {"depth": 6, "random": 2, "evaluation_depth": 20, "max_queries": 3}
    record = run(own, tiny_encoder_path, until="generate", mining=mining)
    assert any("identifiers to learn: 3 of title" in note for note in record.notes)


@pytest.mark.slow
def test_a_dense_student_whose_backbone_cannot_read_the_corpus_is_told(own: Path, tiny_encoder_path: Path):
    rewrite(own, lambda at, passage: {"text": f"{'ψψψ ' * 20}{at}"})
    record = run_recipe(tiny_recipe(own, tiny_encoder_path), own.parent / "run", until="distil", anyway=True)
    (note,) = [note for note in record.notes if "unknown to the tokenizer" in note]
    assert "of the tokens of the corpus are unknown to the tokenizer of" in note
