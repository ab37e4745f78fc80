from __future__ import annotations

import errno
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from limbeck.errors import InputError
from limbeck.pipeline.folder import SCRATCH, RunFolder
from limbeck.recipes import Recipe, StdlibData, load_recipe


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def finish(folder: RunFolder, stage: str, key: str, text: str) -> None:
    with folder.working(stage, key) as work:
        (work / "result.txt").write_text(text)


def fail(folder: RunFolder, stage: str, key: str, text: str) -> None:
    with folder.working(stage, key) as work:
        (work / "result.txt").write_text(text)
        raise RuntimeError


def test_a_stage_appears_when_it_is_done(folder: RunFolder):
    with folder.working("mine", "k1") as work:
        (work / "result.txt").write_text("one")
        assert not (folder / "mine").exists()
        assert folder.finished_key("mine") is None
    assert (folder / "mine" / "result.txt").read_text() == "one"
    assert folder.finished_key("mine") == "k1"
    assert folder.seconds("mine") >= 0
    assert not (folder / ".work" / "mine").exists()


def test_a_stage_that_fails_leaves_what_was_there(folder: RunFolder):
    finish(folder, "mine", "k1", "one")
    with pytest.raises(RuntimeError):
        fail(folder, "mine", "k2", "half")
    assert (folder / "mine" / "result.txt").read_text() == "one"
    assert folder.finished_key("mine") == "k1"


def test_an_interrupted_stage_goes_on_from_what_it_left(folder: RunFolder):
    with pytest.raises(RuntimeError):
        fail(folder, "distil", "k1", "step 2")
    with folder.working("distil", "k1") as work:
        assert (work / "result.txt").read_text() == "step 2"


def test_what_another_recipe_left_is_not_gone_on_from(folder: RunFolder):
    with pytest.raises(RuntimeError):
        fail(folder, "distil", "k1", "step 2")
    with folder.working("distil", "k2") as work:
        assert not (work / "result.txt").exists()


def test_a_stale_result_is_replaced_as_a_whole(folder: RunFolder):
    with folder.working("mine", "k1") as work:
        (work / "old.txt").write_text("old")
    finish(folder, "mine", "k2", "new")
    assert sorted(file.name for file in (folder / "mine").iterdir()) == [".done.json", "result.txt"]


def test_scratch_is_gone_when_the_stage_is_done(folder: RunFolder):
    with folder.working("distil", "k1") as work:
        (work / SCRATCH).mkdir()
        (work / SCRATCH / "checkpoint").write_text("x")
    assert not (folder / "distil" / SCRATCH).exists()
    assert not (folder / ".trash").exists()


@pytest.mark.parametrize("stale", [False, True], ids=["first", "over a stale one"])
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_kill_while_a_stage_goes_into_place_loses_nothing(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, steps: int, stale: bool
):
    if stale:
        finish(folder, "mine", "k0", "old")
    rename, done = Path.rename, []

    def killed_after_some(path: Path, target: Path) -> Path:
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(path)
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed_after_some)
        try:
            with folder.working("mine", "k1") as work:
                (work / SCRATCH).mkdir()
                (work / "result.txt").write_text("new")
        except KeyboardInterrupt:
            pass
    with folder.locked():
        assert folder.finished_key("mine") == "k1"
    assert (folder / "mine" / "result.txt").read_text() == "new"
    assert not (folder / "mine" / SCRATCH).exists()
    assert not (folder / ".trash").exists()


def _work_in(path: Path, results: multiprocessing.Queue[str]) -> None:
    try:
        with RunFolder(path).locked():
            results.put("in")
    except InputError as error:
        results.put(str(error))


def test_one_process_at_a_time(folder: RunFolder):
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = context.Queue()
    with folder.locked():
        other = context.Process(target=_work_in, args=(folder.path, results))
        other.start()
        answer = results.get(timeout=30)
        other.join()
    assert "another process works in this folder" in answer
    assert str(folder.path) in answer
    with folder.locked():
        pass


def test_a_file_is_no_run_folder(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="the run folder is a file"):
        RunFolder(tmp_path / "file")


def test_what_is_published_lies_at_the_top_until_it_is_withdrawn(folder: RunFolder):
    with folder.working("evaluate", "k1") as work:
        (work / "runs").mkdir()
        (work / "runs" / "a.trec").write_text("a")
        (work / "metrics.json").write_text("{}")
        (work / "private").write_text("x")
    names = ("runs", "metrics.json", "not-made")
    folder.publish("evaluate", names)
    (folder / "runs" / "mine.trec").write_text("a user's own")
    assert (folder / "runs" / "a.trec").read_text() == "a"
    assert (folder / "metrics.json").read_text() == "{}"
    assert not (folder / "private").exists()

    before = (folder / "metrics.json").stat().st_ino
    folder.publish("evaluate", names)
    assert (folder / "metrics.json").stat().st_ino == before
    (folder / "metrics.json").unlink()
    (folder / "runs" / "a.trec").write_text("changed")
    folder.publish("evaluate", names)
    assert (folder / "metrics.json").read_text() == "{}"
    assert (folder / "runs" / "a.trec").read_text() == "a"

    folder.withdraw("evaluate", names)
    assert not (folder / "metrics.json").exists()
    assert [file.name for file in (folder / "runs").iterdir()] == ["mine.trec"]


def test_what_another_recipe_published_goes_and_nothing_else(folder: RunFolder):
    for stage, name in (("evaluate", "metrics.json"), ("pair-evaluate", "pairs")):
        with folder.working(stage, "k1") as work:
            place = work / name / "metrics.json" if name == "pairs" else work / name
            place.parent.mkdir(exist_ok=True)
            place.write_text("{}")
        folder.publish(stage, [name])
    (folder / "notes.txt").write_text("a user's own")
    folder.withdraw_others({"evaluate"})
    assert (folder / "metrics.json").exists()
    assert not (folder / "pairs" / "metrics.json").exists()
    assert (folder / "pair-evaluate" / "pairs" / "metrics.json").exists()
    folder.publish("pair-evaluate", ["pairs"])
    assert (folder / "pairs" / "metrics.json").read_text() == "{}"
    (folder / "pairs" / "metrics.json").write_text("a user's own")
    folder.withdraw_others({"evaluate"})
    assert (folder / "pairs" / "metrics.json").exists()
    assert (folder / "notes.txt").exists()


def test_recipe_and_manifest_tell_what_made_the_folder(folder: RunFolder):
    recipe = Recipe(data=StdlibData(), seed=3)
    folder.write_recipe(recipe)
    assert load_recipe(folder / "recipe.yaml") == recipe
    finish(folder, "mine", "k1", "one")
    folder.write_manifest({"mine": "k1", "distil": "k2"})
    manifest = json.loads((folder / "manifest.json").read_text())
    assert list(manifest["stages"]) == ["mine"]
    assert manifest["stages"]["mine"]["key"] == "k1"
    assert set(manifest["machine"]) == {"processor", "cores", "system", "python"}


def test_a_note_that_cannot_be_read_is_an_error(folder: RunFolder):
    finish(folder, "mine", "k1", "one")
    (folder / "mine" / ".done.json").write_text("")
    with pytest.raises(InputError, match=r"mine/\.done\.json: .* cannot be read.*delete .*mine"):
        folder.finished_key("mine")


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="the run folder cannot be made"):
        RunFolder(tmp_path / "file" / "run")


@pytest.fixture
def sibling(tmp_path: Path) -> RunFolder:
    """A run folder with a finished stage `mine`, of the key k1, that has a file in a folder."""
    sibling = RunFolder(tmp_path / "sibling")
    with sibling.working("mine", "k1") as work:
        (work / "bm25").mkdir()
        (work / "bm25" / "terms").write_text("cat")
        (work / "latest").symlink_to("bm25")
    return sibling


def test_a_stage_of_the_same_key_is_taken_from_a_sibling(
    folder: RunFolder, sibling: RunFolder, tmp_path: Path
):
    finish(folder, "mine", "k0", "stale")
    empty = RunFolder(tmp_path / "empty")
    assert not folder.adopt("mine", "k2", [empty, sibling])
    assert (folder / "mine" / "result.txt").read_text() == "stale"
    assert folder.adopt("mine", "k1", [empty, sibling])
    assert folder.finished_key("mine") == "k1"
    assert folder.seconds("mine") == sibling.seconds("mine")
    assert sorted(file.name for file in (folder / "mine").iterdir()) == [".done.json", "bm25", "latest"]
    assert (folder / "mine" / "bm25" / "terms").samefile(sibling / "mine" / "bm25" / "terms")
    assert (folder / "mine" / "latest").readlink() == Path("bm25")


def test_a_sibling_that_makes_the_stage_anew_leaves_what_was_taken(folder: RunFolder, sibling: RunFolder):
    folder.adopt("mine", "k1", [sibling])
    finish(sibling, "mine", "k2", "new")
    assert (folder / "mine" / "bm25" / "terms").read_text() == "cat"
    assert folder.finished_key("mine") == "k1"


def test_without_hard_links_files_are_copied(
    folder: RunFolder, sibling: RunFolder, monkeypatch: pytest.MonkeyPatch
):
    def refuse(source: str, target: str) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert folder.adopt("mine", "k1", [sibling])
    copy, original = folder / "mine" / "bm25" / "terms", sibling / "mine" / "bm25" / "terms"
    assert copy.read_text() == "cat"
    assert not copy.samefile(original)
    assert copy.stat().st_mtime_ns == original.stat().st_mtime_ns


@pytest.mark.parametrize("files", [0, 1])
def test_a_kill_while_a_stage_is_taken_leaves_nothing(
    folder: RunFolder, sibling: RunFolder, monkeypatch: pytest.MonkeyPatch, files: int
):
    link, done = os.link, []

    def killed_after_some(source: str, target: str) -> None:
        if len(done) == files:
            raise KeyboardInterrupt
        done.append(source)
        link(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", killed_after_some)
        with pytest.raises(KeyboardInterrupt):
            folder.adopt("mine", "k1", [sibling])
    with folder.locked():
        assert folder.finished_key("mine") is None
        with folder.working("mine", "k1") as work:
            assert [file.name for file in work.iterdir()] == [".key"]


def test_nothing_is_taken_from_a_folder_in_which_another_process_works(folder: RunFolder, sibling: RunFolder):
    with sibling.locked(), pytest.raises(InputError, match="sibling: another process works"):
        folder.adopt("mine", "k1", [sibling])
    assert not (folder / "mine").exists()
