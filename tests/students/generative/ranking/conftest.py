"""A tiny base retriever with its lists and matches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from limbeck.data import Passage, Rankings
from limbeck.students.generative.identifiers import BodyView, PseudoQueryView, TitleView
from limbeck.students.generative.pseudo_queries import PseudoQueries
from limbeck.students.generative.ranking.collecting import collect_matches
from limbeck.students.generative.ranking.lists import RankedLists, ranked_lists
from limbeck.students.generative.ranking.matches import Matches
from limbeck.students.generative.retriever import GenerativeRetriever, SearchSettings
from limbeck.students.generative.targets import GenerationTargets
from limbeck.students.generative.training import GenerationSettings, train_generator
from tests.students.generative.worlds import PASSAGES, World, load_tiny, make_world
from tests.tiny_models import VOCABULARY

VIEWS = [
    TitleView(),
    BodyView(max_length=4),
    PseudoQueryView(PseudoQueries({"d0": ["who  barks", "what meows"]})),
]
#: The teacher's order of each query, best first; it prefers d1 to the positive of q0.
ORDER = {
    "q0": ["d1", "d0", "d5", "d2", "d4"],
    "q1": ["d2", "d3", "d6", "d0", "d5"],
    "q2": ["d3", "d2", "d4", "d1", "d6"],
    "q3": ["d6", "d4", "d5", "d3", "d1"],
}


def fillers(number: int) -> list[Passage]:
    """Passages of other words: in a corpus of a hundred tokens nothing is rare enough to say much."""
    used = {word for passage in PASSAGES for word in f"{passage.title} {passage.text}".split()}
    words = [word for word in VOCABULARY if word.isalpha() and word not in used]
    drawn = np.random.default_rng(0).choice(words, (number, 20)).tolist()
    return [Passage(f"filler-{place}", " ".join(row), " ".join(row[:2])) for place, row in enumerate(drawn)]


FILLER = fillers(1000)


def draw_targets(world: World, generator) -> GenerationTargets:
    return GenerationTargets.draw(
        world.judgements, queries=world.queries, passages=world.passages, views=VIEWS,
        vocabulary=generator.vocabulary,
    )  # fmt: skip


@dataclass(frozen=True)
class Base:
    world: World
    retriever: GenerativeRetriever
    teacher: Rankings
    lists: RankedLists
    matches: Matches


def make_base(folder: Path, model: Path, *, beams: int = 30) -> Base:
    world = make_world(folder)
    teacher = Rankings.from_dict(
        {query: {one: -float(place) for place, one in enumerate(order)} for query, order in ORDER.items()},
        "teacher",
    )
    generator, targets = load_tiny(model), draw_targets(world, load_tiny(model))
    # A random model finds nothing likelier than the corpus does: it has to learn to generate first.
    settings = GenerationSettings(epochs=8, batch_size=4, learning_rate=3e-3, warmup_ratio=0.0, bf16=False)
    train_generator(generator, targets, settings=settings, work_dir=folder / "generation")
    retriever = GenerativeRetriever.build(
        folder / "retriever",
        generator,
        [*PASSAGES, *FILLER],
        VIEWS,
        SearchSettings(beams=beams, batch_size=3),
    )
    lists = ranked_lists(teacher, world.judgements)
    matches = collect_matches(folder / "matches.arrow", retriever, lists, queries=world.queries)
    return Base(world, retriever, teacher, lists, matches)


@pytest.fixture(scope="session")
def base(tiny_paths, tmp_path_factory) -> Base:
    """Of a BART that has learnt to generate a little; do not change it."""
    return make_base(tmp_path_factory.mktemp("base"), tiny_paths["bart"])
