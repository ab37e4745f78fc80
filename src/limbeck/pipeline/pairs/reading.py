"""The first stage of pair tasks: the sets of labelled pairs are read and looked at."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limbeck.data import SentencePair, SentencePairs
from limbeck.data.formats.corpus import corpus_passages
from limbeck.data.formats.pairs import read_pairs
from limbeck.errors import InputError
from limbeck.pipeline.candidates import EVALUATED, SPLITS
from limbeck.pipeline.inspection import SAMPLE, note_unknown_tokens
from limbeck.pipeline.run import Run
from limbeck.recipes import BinaryLabels, GradedLabels, PairSetRecipe, Recipe, Split
from limbeck.students.dense.pair_training import LabelledPairs

#: Its folder, with a folder a set.
STAGE = "pair-data"
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")


def reading_settings(recipe: Recipe) -> object:
    """What the sets depend on."""
    return {
        name: [one.fields, one.labels.settings, _files(one), None if one.dev else one.dev_share]
        for name, one in recipe.pairs.items()
    }


def read_sets(run: Run, work: Path) -> None:
    """Reads every split of every set; leaves `SET/SPLIT.arrow`.

    Raises:
        InputError: what `read_pairs` refuses, a label outside its range, labels of another kind than the
            recipe says, a positive class that no training pair has, or a split whose labels are all equal.
    """
    samples: dict[str, list[str]] = {}
    for name, one in run.recipe.pairs.items():
        (work / name).mkdir(exist_ok=True)
        read = _read_splits(one)
        for split, pairs in read.items():
            _require_both(pairs, one, split)
            pairs.write(work / name / f"{split}.arrow")
        counts = ", ".join(f"{len(pairs):,} {split}" for split, pairs in read.items())
        run.progress.note(f"{name}: pairs: {counts}")
        _note_shared(run, name, read)
        _note_new_classes(run, name, one.labels, read)
        texts = [text for pair in read["train"] for text in (pair.text1, pair.text2)]
        samples[f"'{name}'"] = texts[:: max(1, len(texts) // SAMPLE)]
    note_unknown_tokens(run, samples)


def open_pairs(run: Run, name: str, split: str) -> SentencePairs:
    """The pairs of a set's split, as the first stage left them."""
    return SentencePairs.open(run.folder / STAGE / name / f"{split}.arrow")


def split_texts(run: Run, name: str, split: str) -> tuple[list[str], list[str]]:
    """First and second texts of a set's split."""
    pairs = list(open_pairs(run, name, split))
    return [pair.text1 for pair in pairs], [pair.text2 for pair in pairs]


def unlabelled_texts(one: PairSetRecipe) -> list[str]:
    """The set's texts without labels, each once; those of the labelled pairs may be among them.

    Raises:
        InputError: with file and line, what `corpus_passages` refuses, an empty text, and one with a title.
    """
    if one.unlabelled is None:
        return []
    texts: dict[str, None] = {}
    for line, passage in corpus_passages(one.unlabelled).numbered():
        if not passage.text.strip():
            raise InputError("the text is empty", path=one.unlabelled, line=line, remedy="mend or remove it")
        if passage.title:  # so does a table of pairs look
            raise InputError(
                "there is a title beside the text",
                path=one.unlabelled,
                line=line,
                expected="JSON objects with `_id` and `text`; or id and text, separated by a tab",
                remedy="give each text an object or a line of its own",
            )
        texts[passage.content] = None
    return list(texts)


def labelled_settings(recipe: Recipe) -> object:
    """What the labelled pairs depend on, beyond the sets."""
    return {name: [one.swap, one.task] for name, one in recipe.pairs.items()}


def labelled_pairs(run: Run, name: str) -> LabelledPairs:
    """The training pairs of a set, in both orders where the recipe swaps them."""
    one = run.recipe.pairs[name]
    first, second = split_texts(run, name, "train")
    goal = targets(open_pairs(run, name, "train"), one.labels)
    if one.swap:
        first, second, goal = first + second, second + first, np.concatenate([goal, goal])
    return LabelledPairs(first, second, goal, one.task)


def targets(pairs: SentencePairs, labels: GradedLabels | BinaryLabels) -> NDArray[np.float64]:
    """The labels as numbers from 0 to 1, (pairs,): a share of the range, or 1 for what counts as positive."""
    found = [pair.label for pair in pairs]
    if isinstance(labels, GradedLabels):
        return (np.asarray(found, np.float64) - labels.low) / (labels.high - labels.low)
    if labels.threshold is not None:
        return (np.asarray(found, np.float64) >= labels.threshold).astype(np.float64)
    return np.isin([_class_of(label) for label in found], _classes(labels.positive, found[0])).astype(
        np.float64
    )


def _class_of(label: float | str) -> str:
    """The name of a class; one that is coded as a number, as on the hub, is named by it."""
    if isinstance(label, str):
        return label
    return str(int(label)) if label.is_integer() else repr(label)


def _classes(names: Sequence[str], like: float | str) -> list[str]:
    """The names that a recipe gives; beside labels that are numbers, `"1.0"` and `"01"` are `"1"`."""
    if isinstance(like, str):
        return list(names)
    return [_class_of(float(name)) if _NUMBER.fullmatch(name) else name for name in names]


def _label_check(labels: GradedLabels | BinaryLabels) -> Callable[[SentencePair], None]:
    """What refuses a label; the reader adds file and line."""

    def check(pair: SentencePair) -> None:
        label = pair.label
        numbers = isinstance(labels, GradedLabels) or labels.threshold is not None
        if numbers and isinstance(label, str):
            raise InputError(
                f"the label {label!r} is a class, and the recipe says that labels are numbers",
                remedy="write it without quotes, as a number"
                if _NUMBER.fullmatch(label)
                else "name the positive classes: `labels: {kind: binary, positive: [CLASS]}`",
            )
        if isinstance(labels, BinaryLabels) and labels.negative:
            known = _classes((*labels.positive, *labels.negative), label)
            if _class_of(label) not in known:
                raise InputError(
                    f"the label {_class_of(label)!r} is neither positive nor negative",
                    expected=f"one of {', '.join(known)}",
                    remedy="take the pair out, or name the class under `positive` or `negative`",
                )
        if isinstance(labels, GradedLabels) and not labels.low <= float(label) <= labels.high:
            raise InputError(
                f"the label {label:g} is out of range",
                expected=f"{labels.low:g} to {labels.high:g}",
                remedy="correct it, or set `low` and `high` of the recipe's `labels`",
            )

    return check


def _files(one: PairSetRecipe) -> list[Path]:
    return [path for path in (one.train, one.dev, one.test) if path is not None]


def _read_splits(one: PairSetRecipe) -> dict[Split, SentencePairs]:
    check = _label_check(one.labels)
    read = [read_pairs(path, fields=one.fields, check=check) for path in _files(one)]
    if one.dev is None:
        read[:1] = _set_aside(read[0], one)
    return dict(zip(SPLITS, read, strict=True))


def _set_aside(pairs: SentencePairs, one: PairSetRecipe) -> list[SentencePairs]:
    """Training and dev pairs; those with one and the same first text stay together.

    A pair's place depends on its first text alone, so that it stays where it is when others come.

    Raises:
        InputError: all pairs fall on one side, as they do where there are few first texts.
    """
    parts: tuple[list[SentencePair], list[SentencePair]] = ([], [])
    for pair in pairs:
        digest = hashlib.blake2b(pair.text1.encode(), digest_size=8).digest()
        parts[int.from_bytes(digest, "big") < one.dev_share * 2**64].append(pair)
    if not all(parts):
        first = len({pair.text1 for pair in pairs})
        raise InputError(
            f"a share of {one.dev_share:g} leaves no {'training' if parts[1] else 'dev'} pairs",
            path=one.train,
            expected=f"more first texts than {first:,}: pairs with the same one stay together",
            remedy="name a file of dev pairs under `dev`, or set another `dev_share`",
        )
    return [SentencePairs.of(part) for part in parts]


def _require_both(pairs: SentencePairs, one: PairSetRecipe, split: Split) -> None:
    path = getattr(one, split) or one.train
    if isinstance(one.labels, BinaryLabels) and split == "train":  # others need not have every one
        classes = sorted({_class_of(pair.label) for pair in pairs})
        unknown = sorted(set(_classes(one.labels.positive, pairs[0].label)) - set(classes))
        if unknown:
            raise InputError(
                f"no pair has the label {unknown[0]!r}, which the recipe calls positive",
                path=path,
                expected=f"one of {_listed(classes)}",
                remedy="correct `positive`; for numbers that count from a threshold on name `threshold`",
            )
    found = targets(pairs, one.labels)
    if np.ptp(found) == 0:
        what = "label" if isinstance(one.labels, GradedLabels) else "class"
        raise InputError(
            f"all {len(found):,} {split} pairs have one and the same {what}",
            path=path,
            expected="pairs that differ, to learn from and to measure by",
        )


def _listed(classes: Sequence[str], most: int = 10) -> str:
    return ", ".join(classes[:most]) + (f" and {len(classes) - most} more" if len(classes) > most else "")


def _note_new_classes(
    run: Run, name: str, labels: GradedLabels | BinaryLabels, read: Mapping[Split, SentencePairs]
) -> None:
    """A class that training lacks may be a slip of the pen, and counts as negative where it is not named."""
    if isinstance(labels, GradedLabels) or labels.threshold is not None or labels.negative:
        return
    known = {_class_of(pair.label) for pair in read["train"]}
    for split in EVALUATED:
        if new := sorted({_class_of(pair.label) for pair in read[split]} - known):
            run.progress.note(
                f"{name}: {split} pairs have classes that no training pair has: {_listed(new)}; what "
                "`positive` does not name counts as negative"
            )


def _note_shared(run: Run, name: str, read: Mapping[Split, SentencePairs]) -> None:
    """A pair counts as the same in either order."""
    seen = {split: {frozenset((pair.text1, pair.text2)) for pair in pairs} for split, pairs in read.items()}
    for split in EVALUATED:
        if shared := len(seen["train"] & seen[split]):
            run.progress.note(
                f"{name}: {shared:,} {split} pairs are training pairs too: figures will flatter"
            )
