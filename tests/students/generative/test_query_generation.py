"""Learning to write questions, and writing them for a corpus, also after a kill."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from limbeck.data import Judgements, Passage, Passages, Queries, Query
from limbeck.students.generative.pseudo_queries import PseudoQueries
from limbeck.students.generative.query_generation import generate_pseudo_queries, train_query_generator
from limbeck.students.generative.query_generator import QueryGenerator, Sampling
from limbeck.students.generative.training import GenerationSettings
from tests.students.generative.worlds import PASSAGES, make_world, save_tiny
from tests.trainings import Interrupt, Interrupted, assert_same, leave_half, losses, run_killed, weights

QUICK = GenerationSettings(
    epochs=3, batch_size=2, learning_rate=1e-3, checkpoint_every=2, log_every=1, bf16=False
)


def start(path):
    return QueryGenerator.start(path, max_passage_length=20, max_query_length=6, device="cpu")


def train(path, world, work, settings=QUICK, callbacks=()):
    generator = start(path)
    outcome = train_query_generator(
        generator, world.judgements, queries=world.queries, passages=world.passages,
        settings=settings, work_dir=work, callbacks=callbacks,
    )  # fmt: skip
    return generator, outcome


@pytest.fixture(scope="module")
def dropout_path(tmp_path_factory):
    """A model with dropout: going on exactly needs its random numbers too."""
    return save_tiny("bert", tmp_path_factory.mktemp("dropout"), dropout=0.1)


@pytest.mark.parametrize("kind", ["bart", "t5", "bert"])
def test_it_learns_to_write_the_queries_of_a_passage(tiny_paths, world, tmp_path, kind):
    settings = replace(QUICK, epochs=60, learning_rate=5e-3, checkpoint_every=1000, label_smoothing=0.0)
    generator, outcome = train(tiny_paths[kind], world, tmp_path / "work", settings)
    assert outcome.steps == len(losses(outcome)) == 60 * 2
    assert not generator.model.training
    asked = {passage.id: passage.content for passage in PASSAGES}
    found = generator.generate(
        [asked[id_] for id_ in ("d0", "d2", "d3", "d6")], 1, sampling=Sampling(top_k=1)
    )
    assert found == [["cat dog"], ["what is paris"], ["berlin"], ["sort"]]


def test_every_relevant_pair_is_learnt_from_and_no_other(tiny_paths, world, tmp_path):
    judged = Judgements(
        [("q0", "d0", 2), ("q0", "d1", 1), ("q0", "d4", 0), ("q1", "d4", -1), ("q3", "d5", 1)]
    )
    _, outcome = train(
        tiny_paths["bart"],
        replace(world, judgements=judged),
        tmp_path,
        replace(QUICK, batch_size=1, epochs=1),
    )
    assert outcome.steps == 3


@pytest.mark.parametrize("step", [1, 4])
def test_an_interrupted_training_ends_with_the_same_weights(dropout_path, world, tmp_path, step):
    whole, expected = train(dropout_path, world, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(dropout_path, world, tmp_path / "cut", callbacks=[Interrupt(step)])
    again, outcome = train(dropout_path, world, tmp_path / "cut")
    assert_same(weights(again.model), weights(whole.model))
    assert outcome.steps == expected.steps == 6


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights(dropout_path, world, tmp_path):
    run_killed(
        f"""
        import torch
        from pathlib import Path
        from tests.students.generative.test_query_generation import make_world, train
        from tests.trainings import Kill
        torch.set_num_threads(1)
        folder = Path({str(tmp_path)!r}) / "other"
        train({str(dropout_path)!r}, make_world(folder), folder / "cut", callbacks=[Kill(3)])
        """
    )
    leave_half(tmp_path / "other" / "cut", 4)
    again, _ = train(dropout_path, world, tmp_path / "other" / "cut")
    whole, _ = train(dropout_path, world, tmp_path / "whole")
    assert_same(weights(again.model), weights(whole.model))


def test_what_cannot_be_learnt(tiny_paths, world, tmp_path, refused):
    for rows, match in (
        ([("q0", "d0", 0)], "nothing to learn from"),
        ([("q0", "elsewhere", 1)], "there is no passage 'elsewhere'"),
        ([("elsewhere", "d0", 1)], "there is no query 'elsewhere'"),
    ):
        other = replace(world, judgements=Judgements(rows))
        refused(
            lambda other=other: train(tiny_paths["bart"], other, tmp_path / "work"),
            match,
            name=None if "nothing" in match else ("passages" if "passage" in match else "queries") + ".arrow",
        )


class Counting:
    """Notes the texts that a generator reads."""

    def __init__(self, generator, monkeypatch) -> None:
        self.texts: list[str] = []
        generate = generator.generate

        def noted(texts, *args, **options):
            self.texts += texts
            return generate(texts, *args, **options)

        monkeypatch.setattr(generator, "generate", noted)


def write(generator, passages, folder, *, count=3, block_size=2, **options):
    return generate_pseudo_queries(
        generator, passages, count, folder / "questions.arrow",
        work_dir=folder / "work", block_size=block_size, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def bart(tiny_paths):
    return start(tiny_paths["bart"])


def test_a_corpus_gets_the_questions_of_its_passages(bart, world, tmp_path):
    done: list[int] = []
    sampling = Sampling(seed=3)
    questions = write(bart, world.passages, tmp_path, sampling=sampling, progress=done.append)
    expected = bart.generate([passage.content for passage in PASSAGES], 3, sampling=sampling)
    assert list(questions) == [
        (passage.id, texts) for passage, texts in zip(PASSAGES, expected, strict=True) if texts
    ]
    assert done == [2, 2, 2, 1]
    opened = PseudoQueries.open(tmp_path / "questions.arrow")
    assert list(opened) == list(questions)
    assert list(write(bart, world.passages, tmp_path, sampling=sampling, block_size=100)) == list(questions)


def test_what_is_finished_is_not_written_again(bart, world, tmp_path, monkeypatch):
    expected = list(write(bart, world.passages, tmp_path / "whole"))

    def stop(passages: int) -> None:
        done.append(passages)
        if len(done) == 2:
            raise Interrupted

    done: list[int] = []
    with pytest.raises(Interrupted):
        write(bart, world.passages, tmp_path, progress=stop)
    assert not (tmp_path / "questions.arrow").exists()
    counting = Counting(bart, monkeypatch)
    done = [0, 0]
    assert list(write(bart, world.passages, tmp_path, progress=stop)) == expected
    assert counting.texts == [passage.content for passage in PASSAGES[4:]]
    assert sum(done) == len(PASSAGES)


@pytest.mark.slow
def test_a_killed_process_loses_the_block_under_way(bart, tiny_paths, world, tmp_path, monkeypatch):
    folder = tmp_path / "cut"
    run_killed(
        f"""
        import os, signal, torch
        from contextlib import contextmanager
        from pathlib import Path
        from limbeck.files import write_text
        from limbeck.students.generative import query_generation
        from tests.students.generative.test_query_generation import make_world, start, write
        torch.set_num_threads(1)
        folder = Path({str(folder)!r})
        @contextmanager
        def killing(path):
            with write_text(path) as stream:
                if path.name.endswith("2.jsonl"):  # in the middle of writing the third block
                    stream.write("half")
                    stream.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
                yield stream
        query_generation.write_text = killing
        write(start(Path({str(tiny_paths["bart"])!r})), make_world(folder).passages, folder)
        """
    )
    counting = Counting(bart, monkeypatch)
    found = list(write(bart, world.passages, folder))
    assert counting.texts == [passage.content for passage in PASSAGES[4:]]
    assert found == list(write(bart, world.passages, tmp_path / "whole"))


@pytest.mark.parametrize("change", ["count", "seed", "lengths", "weights", "passages"])
def test_what_depends_on_something_else_is_written_anew(
    bart, tiny_paths, world, tmp_path, change, monkeypatch
):
    write(bart, world.passages, tmp_path)
    generator, passages, options = start(tiny_paths["bart"]), world.passages, {}
    if change == "count":
        options["count"] = 4
    elif change == "seed":
        options["sampling"] = Sampling(seed=1)
    elif change == "lengths":
        generator = QueryGenerator.start(
            tiny_paths["bart"], max_passage_length=20, max_query_length=5, device="cpu"
        )
    elif change == "weights":
        generator.model.final_logits_bias += 1.0
    else:
        changed = [replace(passage, title="king") for passage in PASSAGES]
        passages = Passages.write(tmp_path / "changed.arrow", changed)
    counting = Counting(generator, monkeypatch)
    found = list(write(generator, passages, tmp_path, **options))
    assert counting.texts == [passage.content for passage in passages]
    assert found == list(write(generator, passages, tmp_path / "fresh", **options))


def test_nothing_that_others_have_in_the_work_folder_is_touched(bart, world, tmp_path):
    (tmp_path / "work").mkdir()
    other = tmp_path / "work" / "other.jsonl"
    other.write_text("mine")
    write(bart, world.passages, tmp_path)
    write(bart, world.passages, tmp_path, count=2)
    assert other.read_text() == "mine"


def test_questions_become_identifiers_in_any_script(bart, tmp_path):
    passages = Passages.write(
        tmp_path / "p.arrow",
        [Passage("nothing", "\u0001"), Passage("红", "中国 x"), Passage("long", "cat dog " * 3000)],
    )
    questions = write(bart, passages, tmp_path)
    assert [id_ for id_, _ in questions] == ["红", "long"]
    assert questions.of("nothing") == []
    assert len(questions.of("long")) > 1


def test_bad_input(bart, world, tmp_path, refused, monkeypatch):
    for name in ("count", "batch_size", "block_size"):
        refused(lambda name=name: write(bart, world.passages, tmp_path, **{name: 0}), f"{name} is 0")
    silent = Passages.write(tmp_path / "silent.arrow", [Passage("d0", "\u0001")])
    refused(lambda: write(bart, silent, tmp_path), "no question for any passage")
    (tmp_path / "file").write_text("x")
    refused(
        lambda: generate_pseudo_queries(bart, world.passages, 1, tmp_path / "q", work_dir=tmp_path / "file"),
        "a file stands where a folder is needed", name="file",
    )  # fmt: skip
    write(bart, world.passages, tmp_path)
    block = tmp_path / "work" / "pseudo-queries-0000001.jsonl"
    first, _ = block.read_text().splitlines()
    block.write_text(f"{first}\n{{\n")
    refused(lambda: write(bart, world.passages, tmp_path), "not valid JSON", name=block.name, line=2)


def test_training_and_writing_print_nothing(tiny_paths, tmp_path, capfd):
    world = make_world(tmp_path)
    generator, _ = train(tiny_paths["bart"], world, tmp_path / "work", replace(QUICK, epochs=1))
    write(generator, world.passages, tmp_path)
    assert capfd.readouterr().out == ""


def test_the_blocks_are_lines_of_json(bart, world, tmp_path):
    questions = write(bart, world.passages, tmp_path)
    lines = (tmp_path / "work" / "pseudo-queries-0000000.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"id": id_, "questions": questions.of(id_)} for id_ in ("d0", "d1")
    ]


def test_queries_with_line_breaks_are_learnt_as_they_are_read(tiny_paths, world, tmp_path):
    queries = Queries.write(tmp_path / "broken.arrow", [Query("q0", "cat\n\n dog")])
    judged = Judgements([("q0", "d0", 1)])
    settings = replace(QUICK, epochs=30, learning_rate=5e-3, checkpoint_every=1000)
    broken = replace(world, queries=queries, judgements=judged)
    generator, _ = train(tiny_paths["bart"], broken, tmp_path / "work", settings)
    assert generator.generate([PASSAGES[0].content], 1, sampling=Sampling(top_k=1)) == [["cat dog"]]
