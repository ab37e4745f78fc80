from __future__ import annotations

import json

import numpy as np
import pytest

from limbeck.data import Judgements
from limbeck.errors import InputError
from limbeck.teachers.llm import LLMTeacher, Prompt, load_language_model
from limbeck.teachers.llm.fine_tuning import LabelledPair, LoRATuning, fine_tune_llm, labelled_pairs
from tests.trainings import Interrupt, Interrupted, Steps, leave_half

PROMPT = Prompt("{query}\n{passage}\nAnswer:", ("yes",), ("no",))
PAIRS = [LabelledPair(q, p, float(q == p)) for q in ("cat", "dog", "fish") for p in ("cat", "dog", "fish")]
FEW = LoRATuning(steps=6, batch_size=3, checkpoint_every=2, learning_rate=1e-2, seed=3)


def scores(folder):
    model = load_language_model(folder, device="cpu")
    return LLMTeacher(model, PROMPT).score([pair[:2] for pair in PAIRS])


def test_it_learns_and_the_adapter_is_merged(llm_path, tmp_path):
    settings = LoRATuning(steps=60, batch_size=9, checkpoint_every=60, learning_rate=2e-2, dropout=0)
    folder = fine_tune_llm(llm_path(), PAIRS, tmp_path, PROMPT, settings, device="cpu")
    labels = np.array([pair.label for pair in PAIRS]) == 1
    after = scores(folder)
    assert after[labels].min() > after[~labels].max()
    assert not hasattr(load_language_model(folder, device="cpu").model, "peft_config")
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 8


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_a_training_goes_on_to_the_same_weights(llm_path, tmp_path, family):
    def tune(name, *callbacks):
        return fine_tune_llm(
            llm_path(family), PAIRS, tmp_path / name, PROMPT, FEW, device="cpu", callbacks=callbacks
        )

    whole = tune("whole")
    with pytest.raises(Interrupted):
        tune("part", Interrupt(5))
    leave_half(tmp_path / "part", 5)
    rest = Steps()
    again = tune("part", rest)
    assert rest.seen == [5, 6]
    assert scores(again).tolist() == scores(whole).tolist() != scores(llm_path(family)).tolist()
    assert sorted(path.name for path in (tmp_path / "part").iterdir()) == ["limbeck.json", "model"]
    ready = Steps()
    tune("part", ready)
    assert not ready.seen


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ([], "no pair"),
        ([LabelledPair("cat", "dog", 1.5)], "pair 1, 'cat', has the label 1.5"),
        ([LabelledPair("cat", "dog", float("nan"))], "label nan"),
        ([LabelledPair("cat", "dog", 1), LabelledPair("cat", "cat", 1)], "all 2 pairs have the label 1"),
    ],
)
def test_labels_that_teach_nothing(llm_path, tmp_path, pairs, problem):
    with pytest.raises(InputError, match=problem):
        fine_tune_llm(llm_path(), pairs, tmp_path, PROMPT, FEW, device="cpu")


def test_positives_and_mined_negatives(candidates, queries, passages, judgements):
    settings = LoRATuning(steps=3, batch_size=4, negatives=2)
    pairs = labelled_pairs(candidates, queries, passages, judgements, settings)
    assert [pair.label for pair in pairs] == [1, 0, 0] * 4
    relevant = {
        (query.text, passage.content)
        for query in queries
        for passage in passages
        if passage.id in judgements.relevant(query.id)
    }
    assert {pair[:2] for pair in pairs if pair.label} == relevant
    assert {pair[:2] for pair in pairs if not pair.label}.isdisjoint(relevant)
    with pytest.raises(InputError, match="no training query has a relevant passage"):
        labelled_pairs(candidates, queries, passages, Judgements([("q1", "d1", 0)]), settings)
