"""The stages of the teacher: it is made, audited against the student's start, and asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from limbeck.backbones import locate_backbone
from limbeck.data import Judgements, PairFeatures, RankedList, Rankings, write_pair_features
from limbeck.data.formats.trec import read_run
from limbeck.encoders import load_cross_encoder
from limbeck.errors import InputError
from limbeck.mining import BM25, drop_likely_positives
from limbeck.pipeline.candidates import (
    EVALUATED,
    backbone_settings,
    candidate_lists,
    open_bm25,
    start_backbone,
    training_queries,
)
from limbeck.pipeline.estimates import CostEstimate
from limbeck.pipeline.folder import write_json
from limbeck.pipeline.language_models import noting_shortened, open_llm, require_room, tune_llm
from limbeck.pipeline.ranking import own_candidates, ranked_queries, ranking_section
from limbeck.pipeline.run import Run
from limbeck.pipeline.servers import (
    announce_costs,
    answering,
    fitted_ensemble,
    server_teacher,
    teaching_servers,
)
from limbeck.pipeline.trainer_progress import TrainerProgress
from limbeck.recipes import (
    BiEncoderMember,
    Bm25Member,
    CrossEncoderMember,
    D2LLMRecipe,
    DenseStudentRecipe,
    LateInteractionMember,
    LLMMember,
    Member,
    Recipe,
    RunMember,
    ServerMember,
)
from limbeck.recipes.teacher import LoRATuning
from limbeck.students.dense.backbone import load_backbone
from limbeck.teachers import (
    BiEncoderTeacher,
    BM25Teacher,
    CrossEncoderTeacher,
    FineTuning,
    LateInteractionTeacher,
    Pair,
    RunFileTeacher,
    ScoreCache,
    Teacher,
    TeacherNotBetterError,
    audit,
    feature_blocks,
    feature_teacher,
    fine_tune_cross_encoder,
    fit_ensemble,
    probabilities,
    score_rankings,
    text_pairs,
)
from limbeck.teachers.llm import fine_tuning as llm_tuning

#: Pairs scored and kept together: what a kill can cost, a few seconds of work.
CHUNK = 256
FEATURES = "features.npy"
OWN = "the base retriever's candidates"


def teacher_settings(recipe: Recipe) -> object:
    """What the members of the teacher depend on."""
    return [answering(recipe.teacher), backbone_settings(recipe), recipe.seed]


def prepare_teacher(run: Run, work: Path) -> None:
    """Fine-tunes the members that are to be, into `cross-encoder-<n>/` and `llm-<n>/`.

    Raises:
        InputError: a question leaves a language model no room for a passage.
    """
    _require_room(run)
    for number, member in enumerate(run.recipe.teacher.members):
        if isinstance(member, LLMMember) and member.fine_tuning is not None:
            _fine_tune_llm(run, member, member.fine_tuning, work / f"llm-{number}")
        if isinstance(member, CrossEncoderMember) and member.model is None:
            target = work / f"cross-encoder-{number}"
            if (target / "model").is_dir():
                continue
            settings = member.fine_tuning.model_dump(exclude={"base"})
            queries, judgements = training_queries(run)
            fine_tune_cross_encoder(
                locate_backbone(member.fine_tuning.base or run.recipe.backbone),
                candidate_lists(run, "train"),
                queries,
                run.dataset.training_view,
                judgements,
                target,
                FineTuning(**settings, max_length=run.recipe.teacher.max_length, seed=run.recipe.seed),
                device=run.recipe.device,
                callbacks=[TrainerProgress(run.progress, "fine-tuning the cross-encoder")],
            )


def _require_room(run: Run) -> None:
    members = [member for member in run.recipe.teacher.members if isinstance(member, LLMMember)]
    if members:
        drawn, _ = training_queries(run)
        asked = [
            *drawn.texts(),
            *(text for split in EVALUATED for text in run.dataset.queries[split].texts()),
        ]
        longest = max((passage.text for passage in run.dataset.passages), key=len)
        for member in members:
            require_room(member, member.question, asked, [longest])


def _fine_tune_llm(run: Run, member: LLMMember, tuning: LoRATuning, target: Path) -> None:
    settings = llm_tuning.LoRATuning(**tuning.model_dump(), seed=run.recipe.seed)
    queries, judgements = training_queries(run)
    pairs = llm_tuning.labelled_pairs(
        candidate_lists(run, "train"), queries, run.dataset.training_view, judgements, settings
    )
    tune_llm(
        run,
        member,
        member.question,
        pairs,
        settings=settings,
        folder=target,
        title="fine-tuning the LLM",
    )


def audit_settings(recipe: Recipe) -> object:
    """The audit depends on what the stages before it left, and on the device only in its speed."""
    return recipe.seed


def audit_teacher(run: Run, work: Path) -> None:
    """Scores the dev candidates with every member, fits the ensemble, and compares.

    Leaves `teacher.json` (the numbers of the ensemble) and `audit.json`. What follows from the verdict is up
    to the next stage, so that the audit is on disk whatever it says.
    """
    data, seed = run.dataset, run.recipe.seed
    judgements = data.judgements["dev"]
    candidates = candidate_lists(run, "dev")
    members = _members(run, "dev")

    def scored(teacher: Teacher) -> Rankings:
        return _scored(run, teacher, candidates, "dev", f"dev candidates: {teacher.name}")

    by_member = [scored(member) for member in members]
    fit = fit_ensemble(by_member, judgements)
    alone = len(members) == 1
    start = BiEncoderTeacher(start_backbone(run.recipe))
    report = audit(
        by_member[0] if alone else fit.held_out,
        scored(BM25Teacher(open_bm25(run))),
        scored(start),
        judgements,
        seed=seed,
    )
    numbers = {name: value for name, value in asdict(fit).items() if name != "held_out"}
    write_json(work / "teacher.json", numbers)
    written = {"passed": report.passed, "rows": report.table_rows(), "ensemble": numbers}
    write_json(work / "audit.json", report.to_dict() | written)
    if report.passed or run.anyway:
        run.progress.note(report.explanation)


def count_audited(run: Run, estimate: CostEstimate) -> None:
    """What the audit asks servers."""
    estimate.add_pairs("dev candidates", teaching_servers(run), candidate_pairs(run, "dev"))


def candidate_pairs(run: Run, name: str) -> Iterator[Pair]:
    """The texts of what was mined, as the teacher reads them; of `dev`, `test`, `train` or `easy`."""
    data, split = run.dataset, "train" if name == "easy" else name
    passages = data.training_view if split == "train" else data.passages
    return text_pairs(candidate_lists(run, name), data.queries[split], passages)


def teach_settings(recipe: Recipe) -> object:
    """What the training scores depend on, beyond the audited teacher."""
    share = recipe.mining.false_negative_share
    return [share, FEATURES] if imitates_features(recipe) else share


def imitates_features(recipe: Recipe) -> bool:
    """Whether the student learns from what the teacher's scores were read from."""
    loss = recipe.loss
    return (
        isinstance(recipe.student, DenseStudentRecipe) and isinstance(loss, D2LLMRecipe) and loss.feature > 0
    )


def teach(run: Run, work: Path) -> None:
    """Scores the mined training candidates, and the easy ones: what a dense student will learn from.

    Leaves `candidates.arrow` and `easy.arrow`, and `features.npy` where the student imitates features: those
    of the mined candidates, in their order.

    Raises:
        TeacherNotBetterError: the audit found the teacher no better than the student's start, and the run
            was not told to go on anyway.
    """
    teacher = _audited(run)
    candidates = candidate_lists(run, "train")
    if imitates_features(run.recipe):  # first: the scores come with them
        _write_features(run, teacher, candidates, work)
    _teach(run, teacher, candidates, work)
    easy = candidate_lists(run, "easy")
    if len(easy):
        easy = _scored(run, teacher, easy, "train", "easy passages")
    easy.write(work / "easy.arrow")


def count_taught(run: Run, estimate: CostEstimate) -> None:
    """What `teach` asks servers."""
    servers = teaching_servers(run)
    estimate.add_pairs("training candidates", servers, candidate_pairs(run, "train"))
    estimate.add_pairs("easy passages", servers, candidate_pairs(run, "easy"))


def teach_own(run: Run, work: Path) -> None:
    """Scores the base retriever's candidates: what a generative student will learn from.

    Raises:
        TeacherNotBetterError: as `teach`.
    """
    teacher, candidates, data = _audited(run), own_candidates(run), run.dataset
    pairs = text_pairs(candidates, data.queries["train"], data.training_view)
    announce_costs(run, OWN, teaching_servers(run), pairs)
    _teach(run, teacher, candidates, work)


def count_own(run: Run, estimate: CostEstimate) -> None:
    """The most that `teach_own` can ask servers: the base retriever has yet to find its candidates."""
    queries, judgements = ranked_queries(run)
    depth = ranking_section(run.recipe).depth
    most = sum(depth + len(judgements.relevant(query.id)) for query in queries)
    estimate.add_bound(OWN, teaching_servers(run), most, candidate_pairs(run, "train"))


def _audited(run: Run) -> Teacher:
    audited = json.loads((run.folder / "audit" / "audit.json").read_text(encoding="utf-8"))
    if not audited["passed"] and not run.anyway:
        raise TeacherNotBetterError(audited["explanation"])
    return open_teacher(run, "train")


def _teach(run: Run, teacher: Teacher, candidates: Rankings, work: Path) -> None:
    scored = _scored(run, teacher, candidates, "train", "training candidates")
    if (share := run.recipe.mining.false_negative_share) is not None:
        scored = _without_likely_positives(scored, run.dataset.judgements["train"], share)
    scored.write(work / "candidates.arrow")


def _write_features(run: Run, teacher: Teacher, candidates: Rankings, work: Path) -> None:
    data, member = run.dataset, feature_teacher(teacher)
    title = f"features of the training candidates: {member.name}"
    with (
        ScoreCache(run.scores) as cache,
        noting_shortened(run, member, title),
        run.progress.task(title, len(candidates)) as advance,
    ):
        pairs = text_pairs(candidates, data.queries["train"], data.training_view)
        blocks = feature_blocks(member, pairs, cache, chunk=CHUNK, progress=advance)
        write_pair_features(work / FEATURES, blocks, len(candidates))


def training_features(run: Run) -> PairFeatures:
    """The teacher's features of the mined training candidates."""
    return PairFeatures(run.folder / "teach" / FEATURES, candidate_lists(run, "train"))


def _without_likely_positives(scored: Rankings, judgements: Judgements, share: float) -> Rankings:
    """The filter takes a share of probabilities; the student still learns from logits."""
    likely = scored.rescored(probabilities(scored.scores), scored.source)
    kept = drop_likely_positives(likely, judgements, share)

    def lists() -> Iterator[RankedList]:
        for ranked in scored:
            stay = set(kept.list_for(ranked.query_id).passage_ids)
            rows = [row for row, passage in enumerate(ranked.passage_ids) if passage in stay]
            yield RankedList(ranked.query_id, [ranked.passage_ids[row] for row in rows], ranked.scores[rows])

    return Rankings.from_lists(lists(), scored.source)


def open_teacher(run: Run, split: str) -> Teacher:
    """The audited teacher: its one member, or the fitted ensemble.

    Args:
        run: a run whose audit is done.
        split: whose queries it will score; training queries are asked against the training view.
    """
    numbers = json.loads((run.folder / "audit" / "teacher.json").read_text(encoding="utf-8"))
    return fitted_ensemble(_members(run, split), numbers)


def scored_by_teacher(run: Run, candidates: Rankings, split: str, title: str) -> Rankings:
    """Candidates of a split with the audited teacher's scores."""
    return _scored(run, open_teacher(run, split), candidates, split, title)


def _scored(run: Run, teacher: Teacher, candidates: Rankings, split: str, title: str) -> Rankings:
    data = run.dataset
    passages = data.training_view if split == "train" else data.passages
    with (
        ScoreCache(run.scores) as cache,
        noting_shortened(run, teacher, title),
        run.progress.task(title, len(candidates)) as advance,
    ):
        return score_rankings(
            teacher, candidates, data.queries[split], passages, cache, chunk=CHUNK, progress=advance
        )


def _members(run: Run, split: str) -> list[Teacher]:
    return [_member(run, member, number, split) for number, member in enumerate(run.recipe.teacher.members)]


def _member(run: Run, member: Member, number: int, split: str) -> Teacher:
    recipe, data = run.recipe, run.dataset
    if isinstance(member, Bm25Member):
        if split == "train" and data.training_passages is not None:
            return BM25Teacher(BM25.build(data.training_passages, recipe.language))
        return BM25Teacher(open_bm25(run))
    if isinstance(member, RunMember):
        return _run_file(run, member, split)
    if isinstance(member, ServerMember):
        return server_teacher(run, member, member.question, "teacher")
    return model_teacher(recipe, member, run.folder / "teacher" / f"{member.kind}-{number}" / "model")


def model_teacher(
    recipe: Recipe,
    member: BiEncoderMember | LateInteractionMember | CrossEncoderMember | LLMMember,
    trained: Path | None = None,
) -> Teacher:
    """A member that is a model, and needs nothing of the data.

    Args:
        recipe: whose backbone and lengths it takes where it names none.
        member: which.
        trained: where the weights lie of a member that was trained here.
    """
    if isinstance(member, CrossEncoderMember):
        length, name = recipe.teacher.max_length, member.model or trained
        if name is None:
            raise TypeError("a cross-encoder that is not fine-tuned yet has no model to load")
        model = load_cross_encoder(name, max_length=length, device=recipe.device)
        return CrossEncoderTeacher(model, max_length=length)
    if isinstance(member, LLMMember):
        tuned = trained if member.fine_tuning is not None else None
        if member.fine_tuning is not None and tuned is None:
            raise TypeError("an LLM that is not fine-tuned yet cannot be loaded")
        return open_llm(member, member.question, recipe.device, tuned)
    kind = BiEncoderTeacher if isinstance(member, BiEncoderMember) else LateInteractionTeacher
    return kind(load_backbone(member.model or recipe.backbone, recipe.max_length, recipe.device))


def _run_file(run: Run, member: RunMember, split: str) -> Teacher:
    path = {"train": member.train, "dev": member.dev, "test": member.test}[split]
    if path is None:
        raise InputError(
            f"the run-file teacher has no run for the {split} queries", remedy=f"name one under `{split}`"
        )
    data = run.dataset
    passages = data.training_view if split == "train" else data.passages
    return RunFileTeacher(
        read_run(path, queries=data.queries[split], passages=passages), data.queries[split], passages
    )
