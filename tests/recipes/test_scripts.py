"""The scripts beside the recipes, run as a user runs them."""

from __future__ import annotations

import gzip
import json
import runpy
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer

from limbeck.data.formats import read_pairs
from limbeck.pipeline.folder import lock_of
from limbeck.teachers.llm.loading import load_language_model

RECIPES = Path(__file__).parents[2] / "recipes"


def call(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RECIPES / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def squad(tmp_path: Path) -> Path:
    """Three articles of two paragraphs; nobody asks about the third in training."""
    folder = tmp_path / "squad"
    (folder / "qrels").mkdir(parents=True)
    passages = [
        {"_id": f"{title}{number}", "title": title, "text": f"About {title}, part {number}."}
        for title in "abc"
        for number in range(2)
    ]
    queries = [{"_id": f"{split}-{p['_id']}", "text": "What?"} for split in ("t", "d", "s") for p in passages]
    write(folder / "corpus.jsonl.gz", passages)
    write(folder / "queries.jsonl.gz", queries)
    for split, name, titles in (("t", "train", "ab"), ("d", "dev_seen", "abc"), ("s", "test_seen", "abc")):
        rows = [f"{split}-{p['_id']}\t{p['_id']}\t1\n" for p in passages if p["title"] in titles]
        (folder / "qrels" / f"{name}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    return folder


def write(path: Path, records: list[dict[str, Any]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def test_articles_are_drawn_whole_and_among_those_with_training_questions(squad: Path, tmp_path: Path):
    done = call("squad_articles.py", squad, tmp_path / "out", "--articles", 2)
    assert done.returncode == 0, done.stderr
    kept = [json.loads(line)["_id"] for line in (tmp_path / "out" / "corpus.jsonl").read_text().splitlines()]
    assert kept == ["a0", "a1", "b0", "b1"]
    test = (tmp_path / "out" / "qrels" / "test.tsv").read_text().splitlines()
    assert test == ["query-id\tcorpus-id\tscore", *(f"s-{one}\t{one}\t1" for one in kept)]
    again = call("squad_articles.py", squad, tmp_path / "out")
    assert again.returncode == 2
    assert "exists" in again.stderr
    many = call("squad_articles.py", squad, tmp_path / "many", "--articles", 3)
    assert many.returncode == 1
    assert "there are 2 with training questions" in many.stderr
    assert not (tmp_path / "many").exists()
    (squad / "qrels" / "dev_seen.tsv").unlink()
    unseen = call("squad_articles.py", squad, tmp_path / "unseen", "--articles", 1)
    assert unseen.returncode == 1
    assert unseen.stderr.startswith("there is no dev_seen.tsv")


def test_few_labels_keep_the_other_texts_that_no_evaluated_pair_has(tmp_path: Path):
    folder = tmp_path / "set"
    folder.mkdir()
    rows = {
        "train": [("a", "b", 1.0), ("c", "d", 2.5), ("a", "e", 0.0)],
        "dev": [("f", "d", 1.0)],
        "test": [("g", "h", 4.0), ("e", "i", 3.0)],
    }
    for split, pairs in rows.items():
        lines = ["text1\ttext2\tlabel", *("\t".join(map(str, pair)) for pair in pairs)]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    (folder / "test.tsv.gz").write_bytes(gzip.compress((folder / "test.tsv").read_bytes()))
    (folder / "test.tsv").unlink()
    done = call("few_labels.py", folder, tmp_path / "out", "--pairs", 2)
    assert done.returncode == 0, done.stderr
    texts = [
        json.loads(line)["text"] for line in (tmp_path / "out/unlabelled.jsonl").read_text().splitlines()
    ]
    assert texts == ["a", "b", "c"]
    drawn = list(read_pairs(tmp_path / "out" / "train.tsv"))
    assert len(drawn) == 2
    assert {(pair.text1, pair.text2, pair.label) for pair in drawn} < set(rows["train"])
    again = call("few_labels.py", folder, tmp_path / "out")
    assert again.returncode == 2
    assert "exists" in again.stderr
    many = call("few_labels.py", folder, tmp_path / "many", "--pairs", 4)
    assert many.returncode == 1
    assert "--pairs 4: there are 3" in many.stderr
    assert not (tmp_path / "many").exists()


def test_more_texts_come_from_elsewhere_and_are_varied(tmp_path: Path, tiny_encoder_path: Path):
    own = {
        "train": ["the cat sits on the mat", "the dog sits on the mat", "the dog sits on the cat", "a mat"],
        "dev": ["a held out text", "the cat sits on the dog"],
        "test": ["one more", "and one"],
    }
    other = {"train": ["of another set", "a held out text", "a text of far too many words"]}
    for name, splits in (("own", own), ("other", other)):
        (tmp_path / name).mkdir()
        for split, texts in splits.items():
            rows = [f"{first}\t{second}\t1.0" for first, second in pairwise(texts)]
            (tmp_path / name / f"{split}.tsv").write_text("\n".join(["text1\ttext2\tlabel", *rows]) + "\n")
    passages = ["Too short. This sentence has six words.", "But this one here has far more of them."]
    write(tmp_path / "corpus.jsonl.gz", [{"_id": str(n), "text": text} for n, text in enumerate(passages)])
    elsewhere = ("--pairs", tmp_path / "other", "--corpora", tmp_path / "corpus.jsonl.gz", "--longest", 6)
    out = tmp_path / "plain.jsonl"
    done = call("more_texts.py", tmp_path / "own", out, *elsewhere, "--varied", 0)
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(line)["text"] for line in out.read_text().splitlines()) == [
        "This sentence has six words.",
        "of another set",
    ]
    out = tmp_path / "varied.jsonl"
    done = call("more_texts.py", tmp_path / "own", out, "--varied", 20, "--backbone", tiny_encoder_path)
    assert done.returncode == 0, done.stderr
    texts = [json.loads(line)["text"] for line in out.read_text().splitlines()]
    assert len(texts) == len(set(texts)) > 5
    assert not {text for split in own.values() for text in split} & set(texts)
    for text in texts:  # of six words one or two are other ones that the set often has, or left out
        words = text.split()
        assert 4 <= len(words) <= 6
        assert set(words) <= {"the", "cat", "sits", "on", "mat", "dog"}
    again = call("more_texts.py", tmp_path / "own", out)
    assert again.returncode == 2
    assert "exists" in again.stderr
    negative = call("more_texts.py", tmp_path / "own", tmp_path / "x.jsonl", "--sentences", -1)
    assert negative.returncode == 2
    assert "--sentences is 1 or more" in negative.stderr
    none = call("more_texts.py", tmp_path / "own", tmp_path / "x.jsonl", "--varied", 0)
    assert none.returncode == 1
    assert "no text is left" in none.stderr
    missing = call("more_texts.py", tmp_path / "own", tmp_path / "x.jsonl", "--pairs", tmp_path / "none")
    assert missing.returncode == 1
    assert "train.tsv" in missing.stderr
    assert not (tmp_path / "x.jsonl").exists()


@pytest.fixture
def statutes(tmp_path: Path) -> Path:
    """Eight passages of three Chinese sentences."""
    corpus = tmp_path / "corpus.jsonl"
    texts = (f"第{n}条规定了很多事情。它说明公民应当遵守法律。违者承担责任。" for n in "一二三四五六七八")
    records = [{"_id": f"d{number}", "text": text} for number, text in enumerate(texts)]
    corpus.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return corpus


SMALL = ("--layers", 1, "--width", 64, "--batch-size", 4)


def test_a_small_backbone_is_a_model_of_the_library(statutes: Path, tmp_path: Path):
    out = tmp_path / "backbone"
    done = call("small_backbone.py", out, statutes, *SMALL, "--epochs", 1)
    assert done.returncode == 0, done.stderr
    assert "8 passages" in done.stdout
    assert SentenceTransformer(str(out)).encode(["遵守法律"]).shape == (1, 64)
    assert not list(tmp_path.glob("backbone.*"))
    single = tmp_path / "single.jsonl"
    single.write_text(json.dumps({"_id": "d0", "text": "One sentence that has no rest to ask for."}) + "\n")
    alone = call("small_backbone.py", tmp_path / "other", single)
    assert alone.returncode == 1
    assert alone.stderr.startswith("none of 1 passages has a sentence")
    missing = call("small_backbone.py", tmp_path / "other", tmp_path / "none.jsonl")
    assert missing.returncode == 1
    assert "none.jsonl" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_two_processes_never_make_the_same_backbone(statutes: Path, tmp_path: Path):
    work = tmp_path / "backbone.training"
    work.mkdir()
    with lock_of(work / ".lock"):
        done = call("small_backbone.py", tmp_path / "backbone", statutes, *SMALL)
    assert done.returncode == 1
    assert f"{work}: another process works in this folder" in done.stderr
    assert [path.name for path in work.iterdir()] == [".lock"]


@pytest.mark.slow
def test_a_small_backbone_goes_on_where_it_was_killed(statutes: Path, tmp_path: Path):
    out = tmp_path / "backbone"
    arguments = [out, statutes, *SMALL, "--epochs", 150]
    command = [sys.executable, str(RECIPES / "small_backbone.py"), *map(str, arguments)]
    begun = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = "backbone.training/*/checkpoints/checkpoint-200/trainer_state.json"
    # It is what the trainer writes last of a checkpoint: half a checkpoint is none.
    while not any(path.read_text().endswith("}\n") for path in tmp_path.glob(state)):
        assert begun.poll() is None, "it ended before it was killed"
        time.sleep(0.05)
    begun.kill()
    begun.wait()
    assert not out.exists()
    done = call("small_backbone.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert "in 300 steps" in done.stdout
    assert SentenceTransformer(str(out)).encode(["遵守法律"]).shape == (1, 64)
    assert "going on from checkpoint-200" in done.stdout


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("--width", "100", "a multiple of 64"),
        ("--layers", "0", "1 or more"),
        ("--max-length", "513", "512 at most"),
        ("--epochs", "nan", "above 0"),
        ("--epochs", "inf", "10000 at most"),
        ("--vocabulary", "100000000000000000000", "1000000 at most"),
        ("--seed", str(2**32), "4294967295 at most"),
        ("--vocabulary", "9", "100 or more"),
    ],
)
def test_a_small_backbone_refuses_what_cannot_be(
    argument: str,
    value: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    script = str(RECIPES / "small_backbone.py")
    monkeypatch.setattr(sys, "argv", [script, str(tmp_path / "out"), "corpus.jsonl", argument, value])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(script, run_name="__main__")
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_small_llm_comes_out_of_the_file_of_llama_cpp(llama_cpp_model: Path, tmp_path: Path):
    gguf, out = llama_cpp_model.with_suffix(".gguf"), tmp_path / "llm"
    done = call("small_llm.py", out, "--gguf", gguf)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"weights in {out}\n")
    before, after = (load_language_model(folder) for folder in (llama_cpp_model, out))
    ids = before.tokenizer("the cat says yes", return_tensors="pt")["input_ids"]
    assert after.tokenizer("the cat says yes", return_tensors="pt")["input_ids"].tolist() == ids.tolist()
    assert after.tokenizer.chat_template == before.tokenizer.chat_template
    weights = after.model.state_dict()
    for name, value in before.model.state_dict().items():
        assert torch.equal(weights[name], value.bfloat16().float()), name
    assert call("small_llm.py", out, "--gguf", gguf).returncode == 2
    (tmp_path / "broken.gguf").write_bytes(gguf.read_bytes()[:200])
    broken = call("small_llm.py", tmp_path / "other", "--gguf", tmp_path / "broken.gguf")
    assert broken.returncode == 1
    assert "broken.gguf: no language model can be read from it" in broken.stderr
    missing = call("small_llm.py", tmp_path / "other", "--gguf", "some-org/some-model/x.gguf")
    assert missing.returncode == 1
    assert "x.gguf: there is no such file" in missing.stderr
    assert not (tmp_path / "other").exists()
