"""Some whole articles of SQuAD's seen splits, as a BEIR folder: a corpus for two cores and an hour.

The articles are drawn among those with training questions. Each keeps all its paragraphs, its training
questions, and its held-out questions, whose paragraphs have training questions (`dev_seen`, `test_seen`; here
`dev` and `test`).

    python recipes/squad_articles.py ../shared/datasets/squad ../squad_160 --articles 160 --seed 0
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from tempfile import TemporaryDirectory

from limbeck.data import Judgements, Passages, RetrievalDataset, open_dataset
from limbeck.data.dataset import PASSAGES_FILE
from limbeck.data.formats.beir import import_beir, write_beir
from limbeck.data.formats.staging import dataset_folder, write_split
from limbeck.errors import InputError

SPLITS = {"train": "train", "dev": "dev_seen", "test": "test_seen"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("squad", type=Path, help="folder with corpus.jsonl.gz, queries.jsonl.gz, qrels/")
    parser.add_argument("out", type=Path, help="folder to write, which must not exist")
    parser.add_argument("--articles", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists; name another folder, or remove it")
    try:
        with TemporaryDirectory() as scratch:
            whole = import_beir(arguments.squad, Path(scratch) / "whole", splits=SPLITS)
            drawn = some_articles(whole, arguments.articles, arguments.seed, Path(scratch) / "drawn")
            write_beir(drawn, arguments.out)
            for split, judged in drawn.judgements.items():
                print(f"{split}: {len(judged.query_ids):,} questions, {len(judged):,} judgements")
            print(f"{len(drawn.passages):,} passages of {arguments.articles} articles")
    except InputError as error:
        parser.exit(1, f"{error}\n")


def some_articles(whole: RetrievalDataset, articles: int, seed: int, into: Path) -> RetrievalDataset:
    """The data set of as many articles, written into a folder.

    Raises:
        InputError: a split is missing, or fewer articles have training questions.
    """
    if missing := sorted(set(SPLITS) - set(whole.splits)):
        files = ", ".join(f"{SPLITS[split]}.tsv" for split in missing)
        raise InputError(f"there is no {files}", expected="SQuAD with its seen splits")
    asked = {passage for _, passage, _ in whole.judgements["train"]}
    titles = sorted({passage.title for passage in whole.passages if passage.id in asked})
    if not 1 <= articles <= len(titles):
        raise InputError(
            f"--articles {articles}: there are {len(titles)} with training questions",
            expected=f"1 to {len(titles)}",
        )
    drawn = set(random.Random(seed).sample(titles, articles))
    with dataset_folder(into) as staging:
        kept = (passage for passage in whole.passages if passage.title in drawn)
        passages = Passages.write(staging / PASSAGES_FILE, kept)
        for split, judged in whole.judgements.items():
            known = passages.contains([passage for _, passage, _ in judged])
            rows = (row for row, keep in zip(judged, known, strict=True) if keep)
            write_split(staging, split, whole.queries[split], Judgements(rows))
    return open_dataset(into)


if __name__ == "__main__":
    main()
