"""The first two stages: the data set, and the candidates that the teacher will judge."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np

from limbeck.data import Judgements, Passages, Queries, Query, RankedList, Rankings, RankingsWriter
from limbeck.data.formats.beir import import_beir
from limbeck.data.formats.hub import import_hub, import_ir_datasets
from limbeck.data.formats.trec import read_run
from limbeck.data.stdlib import build_stdlib, stdlib_fingerprint
from limbeck.errors import InputError
from limbeck.mining import BM25, BM25Miner, DenseMiner, Miner, mine_to
from limbeck.pipeline.run import Run
from limbeck.recipes import BeirData, HubData, Recipe, StdlibData
from limbeck.students.dense.backbone import load_backbone

#: Splits whose candidates are ranked by systems and teacher, and not learnt from.
EVALUATED = ("dev", "test")


def data_settings(recipe: Recipe) -> object:
    """What the data depends on, the files behind it included."""
    data = recipe.data
    if isinstance(data, StdlibData):
        return [data, stdlib_fingerprint()]
    if isinstance(data, BeirData):
        files = sorted(path for path in data.folder.rglob("*") if path.is_file())
        return [data, [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]]
    return data


def prepare_data(run: Run, work: Path) -> None:
    """Reads the corpus, the queries and the judgements into tables."""
    data = run.recipe.data
    if isinstance(data, StdlibData):
        dataset = build_stdlib(work, max_queries_per_module=data.max_queries_per_module)
    elif isinstance(data, BeirData):
        dataset = import_beir(
            data.folder, work, splits={"train": data.train, "dev": data.dev, "test": data.test}
        )
    elif isinstance(data, HubData):
        dataset = import_hub(data.name, work)
    else:
        dataset = import_ir_datasets({"train": data.train, "dev": data.dev, "test": data.test}, work)
    for split in ("train", "dev", "test"):
        if split not in dataset.queries or not len(dataset.judgements[split]):
            raise InputError(
                f"the data set has no {split} queries with judgements",
                expected="train, dev and test queries: to learn from, to tune by, to measure by",
                remedy="name the three splits in the recipe's section `data`",
            )
    counts = ", ".join(f"{len(dataset.queries[split]):,} {split}" for split in ("train", "dev", "test"))
    run.progress.note(f"{len(dataset.passages):,} passages; queries: {counts}")


def mining_settings(recipe: Recipe) -> object:
    """What the candidates depend on."""
    mining = recipe.mining.model_dump(mode="json", exclude={"false_negative_share"})
    return [mining, recipe.language, recipe.backbone, recipe.max_length, recipe.seed]


def mine(run: Run, work: Path) -> None:
    """Finds candidates for the queries of every split.

    Leaves `bm25/` and `backbone/` (the indexes of two first systems), their runs on the evaluated splits,
    and `train.arrow`, `easy.arrow`, `dev.arrow`, `test.arrow`: what the teacher is to score.
    """
    recipe, data = run.recipe, run.dataset
    mining = recipe.mining
    bm25 = BM25.build(data.passages, recipe.language)
    bm25.save(work / "bm25")
    with run.progress.task("encoding passages with the backbone", len(data.passages)) as advance:
        backbone = load_backbone(recipe.backbone, recipe.max_length, recipe.device)
        dense = DenseMiner(backbone, data.passages, folder=work / "backbone", progress=advance)
    miners: dict[str, Miner] = {"bm25": BM25Miner(bm25), "dense": dense}
    for split in EVALUATED:
        found = [
            mine_to(work / f"{name}-{split}.arrow", miner, data.queries[split], recipe.evaluation.depth)
            for name, miner in miners.items()
        ]
        if split in mining.runs:
            found = [read_run(mining.runs[split], queries=data.queries[split], passages=data.passages)]
        elif mining.miners != ("bm25", "dense"):
            found = [found[list(miners).index(name)] for name in mining.miners]
        Rankings.union(found, mining.evaluation_depth).write(work / f"{split}.arrow")
    queries, judgements = training_queries(run, work)
    if "train" in mining.runs:
        mined = (
            read_run(mining.runs["train"], passages=data.passages)
            .for_queries(queries.ids())
            .top(mining.depth)
        )
    else:
        each = [
            mine_to(work / f"{name}-train.arrow", miners[name], queries, mining.depth, skip=judgements)
            for name in mining.miners
        ]
        mined = Rankings.union(each, mining.depth)
    with RankingsWriter(work / "train.arrow", mined.source) as writer:
        for query_id in queries.ids():
            writer.add(_with_positives(mined.list_for(query_id), judgements.relevant(query_id)))
    with RankingsWriter(work / "easy.arrow", "random") as writer:
        for query_id in queries.ids():
            writer.add(_random(query_id, data.passages, judgements, mining.random, recipe.seed))


def training_queries(run: Run, folder: Path | None = None) -> tuple[Queries, Judgements]:
    """The training queries that this run learns from, and their judgements.

    Args:
        run: the run.
        folder: of the mining stage while it is at work; None once it is done.
    """
    data, limit = run.dataset, run.recipe.mining.max_queries
    queries, judgements = data.queries["train"], data.judgements["train"]
    if limit is None or len(queries) <= limit:
        return queries, judgements
    path = (folder or run.folder / "mine") / "queries.arrow"
    if folder is not None:
        chosen = sorted(queries.ids(), key=lambda id_: _digest(id_, run.recipe.seed))[:limit]
        Queries.write(path, (Query(id_, queries.text(id_)) for id_ in chosen))
    kept = Queries.open(path)
    return kept, judgements.subset(kept.ids())


def _with_positives(ranked: RankedList, positives: list[str]) -> RankedList:
    """A mined list with its positives in front; the scores are ranks, for the teacher to replace."""
    passages = [*positives, *(p for p in ranked.passage_ids if p not in set(positives))]
    return RankedList(ranked.query_id, passages, -np.arange(len(passages), dtype=np.float64))


def _random(query_id: str, passages: Passages, judgements: Judgements, count: int, seed: int) -> RankedList:
    """Passages drawn for a query, by the query's id alone."""
    positives = set(judgements.relevant(query_id))
    generator = np.random.default_rng(int.from_bytes(_digest(query_id, seed), "big"))
    rows = generator.choice(len(passages), size=min(len(passages), count + len(positives)), replace=False)
    ids = [id_ for id_ in passages.ids(rows) if id_ not in positives][:count]
    return RankedList(query_id, ids, -np.arange(len(ids), dtype=np.float64))


def _digest(text: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=8).digest()


def open_bm25(run: Run) -> BM25:
    """The BM25 index of the mining stage."""
    return BM25.load(run.folder / "mine" / "bm25", run.dataset.passages)


def candidate_lists(run: Run, name: str) -> Rankings:
    """Rankings of the mining stage by name: `train`, `easy`, `dev`, `bm25-test`."""
    return Rankings.open(run.folder / "mine" / f"{name}.arrow")


def clear(folder: Path) -> None:
    """Removes what a stage needed on the way and nobody reads afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
