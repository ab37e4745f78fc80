"""Having questions written for a corpus, also after a kill."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from limbeck.data import Passage, Passages
from limbeck.query_generation.sampling import Sampling
from limbeck.query_generation.seq2seq import QueryGenerator, Seq2SeqWriter
from limbeck.query_generation.writing import generate_pseudo_queries
from limbeck.students.generative.pseudo_queries import PseudoQueries
from tests.query_generation.test_training import QUICK, start, train
from tests.students.generative.worlds import PASSAGES, make_world
from tests.trainings import Interrupted, run_killed


class Counting:
    """Notes the texts that a generator reads."""

    def __init__(self, generator, monkeypatch) -> None:
        self.texts: list[str] = []
        generate = generator.generate

        def noted(texts, *args, **options):
            self.texts += texts
            return generate(texts, *args, **options)

        monkeypatch.setattr(generator, "generate", noted)


def write(generator, passages, folder, *, count=3, block_size=2, sampling=None, batch_size=16, progress=None):
    return generate_pseudo_queries(
        Seq2SeqWriter(generator, sampling, batch_size=batch_size), passages, count,
        folder / "questions.arrow", work_dir=folder / "work", block_size=block_size, progress=progress,
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
        from limbeck.query_generation import writing
        from tests.query_generation.test_writing import make_world, start, write
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
        writing.write_text = killing
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
        lambda: generate_pseudo_queries(
            Seq2SeqWriter(bart), world.passages, 1, tmp_path / "q", work_dir=tmp_path / "file"
        ),
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
