"""The first two stages: the data set, and the candidates that the teacher will judge."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from limbeck.data import Judgements, Passages, Queries, Query, RankedList, Rankings, RankingsWriter
from limbeck.data.dataset import PASSAGES_FILE, RetrievalDataset
from limbeck.data.formats.beir import import_beir
from limbeck.data.formats.corpus import corpus_passages
from limbeck.data.formats.hub import import_hub, import_ir_datasets
from limbeck.data.formats.trec import read_run
from limbeck.data.stdlib import build_stdlib, stdlib_fingerprint
from limbeck.errors import InputError
from limbeck.mining import BM25, BM25Miner, DenseMiner, Miner, mine_to
from limbeck.pipeline.run import Run
from limbeck.recipes import BeirData, CorpusData, HubData, Recipe, RunMember, Split, StdlibData
from limbeck.students.dense.backbone import load_backbone
from limbeck.students.dense.lists import TrainingList, training_lists

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
#: Splits whose candidates are ranked by systems and teacher, and not learnt from.
EVALUATED: tuple[Split, ...] = ("dev", "test")


def data_settings(recipe: Recipe) -> object:
    """What the data depends on."""
    data = recipe.data
    if isinstance(data, StdlibData):
        return [data, stdlib_fingerprint()]
    if isinstance(data, CorpusData):
        return data.file
    return data


def prepare_data(run: Run, work: Path) -> None:
    """Reads the corpus, the queries and the judgements into tables."""
    data = run.recipe.data
    assert data is not None  # noqa: S101 - a recipe without it has no such stage
    if isinstance(data, CorpusData):
        _prepare_corpus(run, data, work)
        return
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
    _require_words(dataset.passages)
    require_splits(run, dataset)


def _prepare_corpus(run: Run, data: CorpusData, work: Path) -> None:
    passages = Passages.write(work / PASSAGES_FILE, corpus_passages(data.file))
    _require_words(passages)
    run.progress.note(f"{len(passages):,} passages, and no questions yet")


def require_splits(run: Run, dataset: RetrievalDataset) -> None:
    """Does nothing but leave a note if a data set has queries with answers in every split.

    Raises:
        InputError: it lacks a split, or an answer; or a query id cannot stand in a TREC run.
    """
    for split in SPLITS:
        _require_split(dataset, split)
    for queries in dataset.queries.values():
        _require_words(queries)
    counts = ", ".join(f"{len(dataset.queries[split]):,} {split}" for split in SPLITS)
    run.progress.note(f"{len(dataset.passages):,} passages; queries: {counts}")
    learnt = set(dataset.queries["train"].ids())
    for split in EVALUATED:
        if shared := len(learnt.intersection(dataset.queries[split].ids())):
            run.progress.note(f"{shared:,} {split} queries are training queries too: figures will flatter")


def _require_split(dataset: RetrievalDataset, split: Split) -> None:
    if split not in dataset.queries or not len(dataset.judgements[split]):
        raise InputError(
            f"the data set has no {split} queries with judgements",
            expected="train, dev and test queries: to learn from, to tune by, to measure by",
            remedy="name the three splits in the recipe's section `data`",
        )
    if all(grade < 1 for _, _, grade in dataset.judgements[split]):
        raise InputError(
            f"no {split} query has a relevant passage",
            expected="judgements with a grade of 1 or more",
            remedy="name the right file of the split in the recipe's section `data`, or mend the grades",
        )


def _require_words(table: Passages | Queries) -> None:
    """Refuses now what no TREC run can hold at the end, when all the work is done."""
    for ids in table.id_batches():
        joined = "".join(ids)
        if joined.split() != [joined]:
            wrong = next(id_ for id_ in ids if id_.split() != [id_])
            raise InputError(
                f"the {table.kind} id {wrong!r} holds white space",
                expected="ids without it: a run leaves TREC files, whose columns it separates",
                remedy="put another character in its place, in the judgements too",
            )


def mining_settings(recipe: Recipe) -> object:
    """What the candidates depend on."""
    mining = recipe.mining
    return [
        mining.model_dump(exclude={"false_negative_share"}),
        scored_by_runs(recipe),
        recipe.language,
        backbone_settings(recipe),
        recipe.seed,
    ]


def backbone_settings(recipe: Recipe) -> object:
    """What a model depends on that starts from the backbone."""
    layers = [] if recipe.backbone_layers is None else [recipe.backbone_layers]
    return [recipe.backbone, recipe.max_length, *layers]


def start_backbone(recipe: Recipe, device: str | None = None) -> SentenceTransformer:
    """The backbone as the student starts from it: with its first layers only, where the recipe says so.

    Args:
        recipe: the recipe.
        device: where it lives; None takes the recipe's.
    """
    return load_backbone(
        recipe.backbone, recipe.max_length, device or recipe.device, layers=recipe.backbone_layers
    )


def mine(run: Run, work: Path) -> None:
    """Finds candidates for the queries of every split.

    Leaves `bm25/` and `backbone/` (the indexes of two first systems), and `train.arrow`, `easy.arrow`,
    `dev.arrow`, `test.arrow`: what the teacher is to score.
    """
    recipe, data = run.recipe, run.dataset
    mining = recipe.mining
    bm25 = BM25.build(data.passages, recipe.language)
    bm25.save(work / "bm25")
    with run.progress.task("encoding passages with the backbone", len(data.passages)) as advance:
        backbone = start_backbone(recipe)
        dense = DenseMiner(backbone, data.passages, folder=work / "backbone", progress=advance)
    available: dict[str, Miner] = {"bm25": BM25Miner(bm25), "dense": dense}
    miners = {str(name): available[name] for name in mining.miners}
    for split in EVALUATED:
        found = _found(run, work, miners, split)
        Rankings.union(found, mining.evaluation_depth).write(work / f"{split}.arrow")
    queries, judgements = training_queries(run, work)
    mined = Rankings.union(_found(run, work, miners, "train", skip=judgements))
    only_found = scored_by_runs(recipe)
    with RankingsWriter(work / "train.arrow", mined.source) as writer:
        for query_id in queries.ids():
            positives = judgements.relevant(query_id)
            writer.add(training_list(mined.list_for(query_id), positives, mining.depth, only_found))
    with RankingsWriter(work / "easy.arrow", "random") as writer:
        for query_id in queries.ids():
            writer.add(_random(query_id, data.passages, judgements, mining.random, recipe.seed))


def _found(
    run: Run, work: Path, miners: Mapping[str, Miner], split: Split, *, skip: Judgements | None = None
) -> list[Rankings]:
    """What each miner finds, or what the recipe's run of the split holds."""
    data, mining, runs = run.dataset, run.recipe.mining, run.recipe.mining.runs
    depth = mining.depth if split == "train" else mining.evaluation_depth
    queries = training_queries(run, work)[0] if split == "train" else data.queries[split]
    if split in runs:
        return [read_run(runs[split], queries=data.queries[split], passages=data.passages)]
    found = []
    for name, miner in miners.items():
        with run.progress.task(f"{name}: {split} queries", len(queries)) as advance:
            path = work / f"{name}-{split}.arrow"
            found.append(mine_to(path, miner, queries, depth, skip=skip, progress=advance))
    return found


def scored_by_runs(recipe: Recipe) -> bool:
    """Whether nobody can score a positive that the candidates lack."""
    return any(isinstance(member, RunMember) for member in recipe.teacher.members)


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
        chosen = drawn_queries(answered_queries(queries, judgements), limit, run.recipe.seed)
        Queries.write(path, (Query(id_, queries.text(id_)) for id_ in chosen))
    kept = Queries.open(path)
    return kept, judgements.subset(kept.ids())


def answered_queries(queries: Queries, judgements: Judgements) -> list[str]:
    """The queries that can be learnt from: some passage is relevant to them."""
    return [id_ for id_ in queries.ids() if judgements.relevant(id_)]


def drawn_queries(ids: Sequence[str], limit: int, seed: int) -> list[str]:
    """So many of the ids, drawn by the seed; of a smaller limit, the first ones of the same draw."""
    return sorted(ids, key=lambda id_: _digest(id_, seed))[:limit]


def training_list(ranked: RankedList, positives: list[str], depth: int, only_found: bool) -> RankedList:
    """Positives, then the best candidates; the scores are ranks, for the teacher to replace."""
    relevant, found = set(positives), set(ranked.passage_ids)
    first = [passage for passage in positives if passage in found or not only_found]
    others = [passage for passage in ranked.passage_ids if passage not in relevant][:depth]
    passages = first + others
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


def student_lists(run: Run, candidates: Rankings, easy: Rankings) -> list[TrainingList]:
    """What a dense student learns from, of the candidates and the passages drawn at random."""
    return list(
        training_lists(
            candidates,
            easy,
            training_queries(run)[1],
            hard_negatives=run.recipe.training.hard_negatives,
            seed=run.recipe.training_seed,
        )
    )
