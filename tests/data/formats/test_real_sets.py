"""Every real set is read as its own statistics say, and comes back equal from what is written."""

from __future__ import annotations

import json

import pytest

from limbeck.data import SentencePairs
from limbeck.data.formats import import_beir, read_pairs, read_qrels, write_beir, write_pairs

RETRIEVAL = [
    "csl_zh",
    "drcd_cmrc_zh",
    "entailment_bank",
    "fairytaleqa",
    "medquad",
    "nq_qed",
    "scifact",
    "squad",
    "stard_zh",
]
PAIRS = ["ocnli_zh", "pawsx_zh", "sick_en", "stsb_en"]


@pytest.mark.parametrize("name", RETRIEVAL)
def test_retrieval(shared_datasets, tmp_path, name):
    folder = shared_datasets / name
    stats = json.loads((folder / "stats.json").read_text())
    splits = {path.stem: path.stem for path in (folder / "qrels").glob("*.tsv")}
    dataset = import_beir(folder, tmp_path / "out", splits=splits)
    dataset.check()
    assert len(dataset.passages) == stats["passages"]
    for split in splits:
        assert len(dataset.queries[split]) == stats[split]["queries"]
        assert len(dataset.judgements[split]) == stats[split]["judgements"]
    write_beir(dataset, tmp_path / "beir")
    again = import_beir(tmp_path / "beir", tmp_path / "again", splits=splits)
    assert again.passages.fingerprint == dataset.passages.fingerprint
    for split in splits:
        assert again.queries[split].fingerprint == dataset.queries[split].fingerprint
        assert again.judgements[split].fingerprint == dataset.judgements[split].fingerprint


def test_graded_qrels(shared_datasets):
    graded = read_qrels(shared_datasets / "scifact" / "qrels_graded" / "test.tsv")
    assert len(graded) == 339
    assert {grade for _, _, grade in graded} == {1, 2}
    liveqa = read_qrels(shared_datasets / "medquad" / "qrels" / "test_liveqa.tsv")
    assert sum(grade == 0 for _, _, grade in liveqa) == 283


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_pairs(shared_datasets, tmp_path, name, split):
    folder = shared_datasets / name
    path = next(folder.glob(f"{split}.tsv*"), None)
    if path is None:
        pytest.skip("this set has no such split")
    stats = json.loads((folder / "stats.json").read_text())[split]
    pairs = read_pairs(path)
    assert len(pairs) == stats["pairs"]
    assert pairs.classes == (sorted(stats["labels"]) if name == "ocnli_zh" else [])
    for written in ("pairs.tsv", "pairs.jsonl.gz"):
        write_pairs(pairs, tmp_path / written)
        assert read_pairs(tmp_path / written).fingerprint == pairs.fingerprint
    pairs.write(tmp_path / "pairs.arrow")
    assert SentencePairs.open(tmp_path / "pairs.arrow").fingerprint == pairs.fingerprint
