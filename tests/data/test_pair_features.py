from __future__ import annotations

import numpy as np
import pytest

from limbeck.data import PairFeatures, Rankings, write_pair_features

RANKINGS = Rankings.from_dict({"q1": {"a": 2, "b": 1}, "q2": {"b": 5, "c": 4, "a": 3}}, "x")
ROWS = np.arange(10, dtype=np.float16).reshape(5, 2)


def test_features_are_found_by_the_ids_of_their_pair(tmp_path):
    write_pair_features(tmp_path / "features.npy", [ROWS[:3], ROWS[3:]], 5)
    features = PairFeatures(tmp_path / "features.npy", RANKINGS)
    assert features.dimension == 2
    for at, (query, passage) in enumerate(RANKINGS.pairs()):
        assert features.of(query, [passage]).tolist() == ROWS[[at]].tolist()
    assert features.of("q2", ["a", "b"]).tolist() == ROWS[[4, 2]].tolist()


def test_the_rows_stay_in_their_file(tmp_path):
    write_pair_features(tmp_path / "features.npy", [ROWS], 5)
    assert isinstance(PairFeatures(tmp_path / "features.npy", RANKINGS)._rows, np.memmap)


def test_what_does_not_fit_is_refused(tmp_path, refused):
    path = tmp_path / "features.npy"
    refused(lambda: write_pair_features(path, [ROWS[:3]], 5), "features of 3 pairs")
    assert not list(tmp_path.iterdir())
    refused(lambda: PairFeatures(path, RANKINGS), "cannot be read", name="features.npy")
    write_pair_features(path, [ROWS[:3]], 3)
    refused(lambda: PairFeatures(path, RANKINGS), "for 5 pairs", name="features.npy")
    path.unlink()
    write_pair_features(path, [ROWS], 5)
    features = PairFeatures(path, RANKINGS)
    refused(lambda: features.of("q1", ["a", "c"]), "query 'q1' with passage 'c'")


def test_more_rows_than_pairs_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="broadcast"):
        write_pair_features(tmp_path / "features.npy", [ROWS], 4)
    assert not list(tmp_path.iterdir())
