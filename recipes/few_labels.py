"""Some labelled pairs of a set, and its other texts without their labels: few labels, many texts.

The pairs are drawn from the training pairs. The texts are those of all training pairs, less those that stand
in pairs to evaluate by, so that these stay new to the student.

    python recipes/few_labels.py ../shared/datasets/stsb_en ../stsb_few --pairs 1000 --seed 0
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from limbeck.data import SentencePair
from limbeck.data.formats import read_pairs, write_pairs
from limbeck.errors import InputError
from limbeck.files import replaced_folder, write_text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", type=Path, help="folder with train, dev and test (.tsv or .tsv.gz)")
    parser.add_argument("out", type=Path, help="folder to write, which must not exist")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists; name another folder, or remove it")
    try:
        drawn, texts = few_labels(arguments.set, arguments.pairs, arguments.seed)
        with replaced_folder(arguments.out) as folder:
            write_pairs(drawn, folder / "train.tsv")
            with write_text(folder / "unlabelled.jsonl") as stream:
                for row, text in enumerate(texts):
                    stream.write(json.dumps({"_id": str(row), "text": text}, ensure_ascii=False) + "\n")
    except InputError as error:
        parser.exit(1, f"{error}\n")
    print(f"{len(drawn):,} labelled pairs, {len(texts):,} texts without labels")


def few_labels(folder: Path, count: int, seed: int) -> tuple[list[SentencePair], list[str]]:
    """As many training pairs, and the texts of all of them that no other split has.

    Raises:
        InputError: a split is missing, or has fewer pairs.
    """
    train, dev, test = (list(read_pairs(split_file(folder, split))) for split in ("train", "dev", "test"))
    if not 1 <= count <= len(train):
        raise InputError(f"--pairs {count}: there are {len(train):,}", expected=f"1 to {len(train):,}")
    evaluated = {*texts_of(dev), *texts_of(test)}
    texts = [text for text in texts_of(train) if text not in evaluated]
    return random.Random(seed).sample(train, count), texts


def split_file(folder: Path, split: str) -> Path:
    """The file of a split, plain or gzip."""
    packed = folder / f"{split}.tsv.gz"
    return packed if packed.exists() else packed.with_suffix("")


def texts_of(pairs: list[SentencePair]) -> list[str]:
    """Their texts, each once, in the order in which they come."""
    return list(dict.fromkeys(text for pair in pairs for text in (pair.text1, pair.text2)))


if __name__ == "__main__":
    main()
