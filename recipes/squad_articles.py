"""Some whole articles of SQuAD's seen splits, as a BEIR folder: a corpus for two cores and an hour.

The articles are drawn among those with training questions. Each keeps all its paragraphs, its training
questions, and its held-out questions, whose paragraphs have training questions (`dev_seen`, `test_seen`; here
`dev` and `test`).

    python recipes/squad_articles.py ../shared/datasets/squad ../squad_160 --articles 160 --seed 0
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limbeck.files import atomic_folder

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

    if not (arguments.squad / "corpus.jsonl.gz").is_file():
        parser.error(f"{arguments.squad}: there is no corpus.jsonl.gz here; name the folder of SQuAD")
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists; name another folder, or remove it")
    passages = list(_records(arguments.squad / "corpus.jsonl.gz"))
    judgements = {name: _judgements(arguments.squad / "qrels" / f"{SPLITS[name]}.tsv") for name in SPLITS}
    asked = {passage for _, passage, _ in judgements["train"]}
    titles = sorted({passage["title"] for passage in passages if passage["_id"] in asked})
    if not 1 <= arguments.articles <= len(titles):
        parser.error(f"--articles {arguments.articles}: there are {len(titles)} with training questions")
    drawn = set(random.Random(arguments.seed).sample(titles, arguments.articles))
    kept = [passage for passage in passages if passage["title"] in drawn]
    known = {passage["_id"] for passage in kept}

    with atomic_folder(arguments.out) as staging:
        (staging / "qrels").mkdir()
        wanted = set()
        for name, judged in judgements.items():
            rows = [row for row in judged if row[1] in known]
            wanted |= {query for query, _, _ in rows}
            with (staging / "qrels" / f"{name}.tsv").open("w", encoding="utf-8") as file:
                file.write("query-id\tcorpus-id\tscore\n")
                file.writelines("\t".join(row) + "\n" for row in rows)
            print(f"{name}: {len({row[0] for row in rows}):,} questions, {len(rows):,} judgements")
        _write(staging / "corpus.jsonl", kept)
        queries = _records(arguments.squad / "queries.jsonl.gz")
        _write(staging / "queries.jsonl", [query for query in queries if query["_id"] in wanted])
    print(f"{len(kept):,} passages of {len(drawn)} articles")


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _judgements(path: Path) -> list[tuple[str, str, str]]:
    with path.open(encoding="utf-8") as file:
        next(file)
        return [(query, passage, score) for query, passage, score in (line.split() for line in file)]


def _write(path: Path, records: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


if __name__ == "__main__":
    main()
