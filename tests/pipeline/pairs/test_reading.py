"""What is wrong with a set of pairs is found before anything is learned, with file and line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from limbeck.data import SentencePair, SentencePairs
from limbeck.errors import InputError
from limbeck.pipeline import Run, RunFolder
from limbeck.pipeline.pairs.reading import open_pairs, targets
from limbeck.recipes import BinaryLabels, GradedLabels
from tests.pipeline.pairs.tiny_pairs import pair_recipe, set_content
from tests.pipeline.tiny_corpus import run_recipe

ALIKE = {"kind": "binary", "positive": ["alike"]}


def read(pairs: Path, encoder: Path, folder: Path, **changes: object):
    recipe = pair_recipe(pairs, encoder, pairs={"tiny": set_content(pairs, **changes)})
    record = run_recipe(recipe, folder, until="pair-data")
    return Run(recipe, RunFolder(folder)), record


def edited(pairs: Path, tmp_path: Path, split: str, *lines: str) -> str:
    path = tmp_path / f"{split}.tsv"
    path.write_text("\n".join(["text1\ttext2\tlabel\tclass", *lines]) + "\n")
    return str(path)


def test_a_label_out_of_range_is_named_with_its_line(pairs: Path, tiny_encoder_path: Path, tmp_path: Path):
    train = edited(pairs, tmp_path, "train", "a\tb\t4\tsame", "c\td\t4.5\tsame")
    with pytest.raises(InputError, match=r"label 4\.5 is out of range") as caught:
        read(pairs, tiny_encoder_path, tmp_path / "run", train=train)
    assert (str(caught.value.path), caught.value.line, caught.value.expected) == (train, 3, "0 to 4")


def test_a_number_in_quotes_is_told_to_be_written_without(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path
):
    train = tmp_path / "train.jsonl"
    train.write_text('{"text1": "the cat", "text2": "the dog", "label": "3"}\n')
    with pytest.raises(InputError, match=r"the label '3' is a class.*without quotes"):
        read(pairs, tiny_encoder_path, tmp_path / "run", train=str(train))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"labels": ALIKE, "fields": ["text1", "text2", "class"]},
            "'alike'",
        ),
        ({"labels": {"kind": "binary", "positive": ["9"]}}, "no pair has the label '9'"),
        ({"fields": ["text1", "text2", "class"]}, "is a class"),
        ({"labels": {"kind": "binary", "threshold": 9}}, "one and the same class"),
        ({"fields": ["text1", "text2", "grade"]}, "no column 'grade'"),
    ],
)
def test_labels_that_the_recipe_does_not_fit(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path, changes: dict[str, object], problem: str
):
    with pytest.raises(InputError, match=problem):
        read(pairs, tiny_encoder_path, tmp_path / "run", **changes)


def test_a_class_that_is_neither_positive_nor_negative_is_named_with_its_line(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path
):
    train = edited(pairs, tmp_path, "train", "a\tb\t4\tsame", "c\td\t0\tother", "e\tf\t0\t-")
    labels = {"kind": "binary", "positive": ["same"], "negative": ["other"]}
    changes = {"labels": labels, "fields": ["text1", "text2", "class"], "train": train}
    with pytest.raises(InputError, match="label '-' is neither positive nor negative") as caught:
        read(pairs, tiny_encoder_path, tmp_path / "run", **changes)
    assert (str(caught.value.path), caught.value.line) == (train, 4)
    assert caught.value.expected == "one of same, other"


def test_an_empty_split_and_one_label_only(pairs: Path, tiny_encoder_path: Path, tmp_path: Path):
    with pytest.raises(InputError, match="nothing but a header"):
        read(pairs, tiny_encoder_path, tmp_path / "a", test=edited(pairs, tmp_path, "test"))
    dev = edited(pairs, tmp_path, "dev", "a\tb\t2\tsame", "c\td\t2\tother")
    with pytest.raises(InputError, match="all 2 dev pairs have one and the same label"):
        read(pairs, tiny_encoder_path, tmp_path / "b", dev=dev)


def test_a_split_need_not_have_every_positive_class(pairs: Path, tiny_encoder_path: Path, tmp_path: Path):
    labels = {"kind": "binary", "positive": ["same", "nearly"]}
    lines = ["a\tb\t4\tsame", "c\td\t0\tother "]  # blanks around a class do not make it another
    train = edited(pairs, tmp_path, "train", *lines, "e\tf\t3\tnearly ")
    dev, test = (edited(pairs, tmp_path, split, *lines) for split in ("dev", "test"))
    run, _ = read(
        pairs,
        tiny_encoder_path,
        tmp_path / "run",
        labels=labels,
        fields=["text1", "text2", "class"],
        train=train,
        dev=dev,
        test=test,
    )
    read_labels = targets(open_pairs(run, "tiny", "train"), run.recipe.pairs["tiny"].labels)
    assert read_labels.tolist() == [1, 0, 1]


def test_a_class_that_training_lacks_is_told(pairs: Path, tiny_encoder_path: Path, tmp_path: Path):
    test = edited(pairs, tmp_path, "test", "a\tb\t4\tsame", "c\td\t0\tSame", "e\tf\t0\tother")
    changes = {"fields": ["text1", "text2", "class"], "test": test}
    labels = {"kind": "binary", "positive": ["same"]}
    _, record = read(pairs, tiny_encoder_path, tmp_path / "run", labels=labels, **changes)
    (note,) = [note for note in record.notes if "no training pair has" in note]
    assert note.startswith("tiny: test pairs have classes that no training pair has: Same; ")


def test_pairs_in_a_script_that_the_backbone_cannot_read_are_told(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path
):
    _, record = read(pairs, tiny_encoder_path, tmp_path / "known")
    assert not [note for note in record.notes if "unknown to the tokenizer" in note]
    train = edited(pairs, tmp_path, "train", "ψψψ\tωωω\t4\tsame", "ψψψ\tcat\t0\tother")
    _, record = read(pairs, tiny_encoder_path, tmp_path / "unknown", train=train)
    (note,) = [note for note in record.notes if "unknown to the tokenizer" in note]
    assert note.startswith("75% of the tokens of 'tiny' are unknown to the tokenizer of")


def test_pairs_shared_with_training_are_counted_in_either_order(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path
):
    first = (pairs / "train.tsv").read_text().splitlines()[1].split("\t")
    test = edited(
        pairs, tmp_path, "test", "\t".join([first[1], first[0], *first[2:]]), "river\tking\t4\tother"
    )
    _, record = read(pairs, tiny_encoder_path, tmp_path / "run", test=test)
    assert any("1 test pairs are training pairs too" in note for note in record.notes)


def test_dev_pairs_are_set_aside_by_their_first_texts(pairs: Path, tiny_encoder_path: Path, tmp_path: Path):
    lines = [f"text {at % 40}\tother {at}\t{at % 5}\tsame" for at in range(400)]
    train = edited(pairs, tmp_path, "train", *lines)
    run, _ = read(pairs, tiny_encoder_path, tmp_path / "run", train=train, dev=None, dev_share=0.3)
    learnt, aside = (list(open_pairs(run, "tiny", split)) for split in ("train", "dev"))
    assert len(learnt) + len(aside) == 400
    assert 0.1 < len(aside) / 400 < 0.5
    assert not {pair.text1 for pair in learnt} & {pair.text1 for pair in aside}


@pytest.mark.parametrize(
    ("share", "problem"), [(1e-9, "leaves no dev pairs"), (1 - 1e-9, "no training pairs")]
)
def test_a_share_that_leaves_one_side_empty_is_said(
    pairs: Path, tiny_encoder_path: Path, tmp_path: Path, share: float, problem: str
):
    with pytest.raises(InputError, match=problem) as caught:
        read(pairs, tiny_encoder_path, tmp_path / "run", dev=None, dev_share=share)
    assert str(caught.value.path) == str(pairs / "train.tsv")
    assert "dev_share" in str(caught.value.remedy)


def test_targets_are_shares_of_the_range_or_classes():
    graded = SentencePairs.of([SentencePair("a", "b", label) for label in (1.0, 2.0, 5.0)])
    assert targets(graded, GradedLabels(kind="graded", low=1, high=5)).tolist() == [0.0, 0.25, 1.0]
    assert targets(graded, BinaryLabels(kind="binary", threshold=2)).tolist() == [0.0, 1.0, 1.0]
    classes = SentencePairs.of([SentencePair("a", "b", label) for label in ("x", "y", "z")])
    found = targets(classes, BinaryLabels(kind="binary", positive=("x", "z")))
    assert np.array_equal(found, [1.0, 0.0, 1.0])
    # Entailment, neutral, contradiction as the hub codes them.
    coded = SentencePairs.of([SentencePair("a", "b", label) for label in (0.0, 1.0, 2.0)])
    for zero in ("0", "0.0", "-0", "00"):
        assert targets(coded, BinaryLabels(kind="binary", positive=(zero,))).tolist() == [1.0, 0.0, 0.0]
    numbers = (1234567.0, 1234568.0, 0.5)
    large = SentencePairs.of([SentencePair("a", "b", label) for label in numbers])
    for at, name in enumerate(("1234567", "1234568", "0.5")):
        found = targets(large, BinaryLabels(kind="binary", positive=(name,)))
        assert found.tolist() == [float(other == at) for other in range(3)]
