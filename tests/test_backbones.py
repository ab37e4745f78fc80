"""Where a backbone is found."""

from __future__ import annotations

from limbeck.backbones import locate_backbone


def test_where_backbones_are(tmp_path, monkeypatch):
    assert locate_backbone(str(tmp_path)) == str(tmp_path)
    assert locate_backbone("intfloat/e5-small") == "intfloat/e5-small"
    monkeypatch.setattr("limbeck.backbones.find_spec", lambda name: None)
    assert locate_backbone() == "sentence-transformers/all-MiniLM-L6-v2"
