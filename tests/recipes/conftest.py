"""The project's recipes, which can be read where none of their data are."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="session")
def project_recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the recipes' folder, beside empty files and folders where they look for data and models."""
    root = tmp_path_factory.mktemp("checkout")
    recipes = Path(shutil.copytree(RECIPES, root / "project" / "recipes"))
    for path in recipes.rglob("*.yaml"):
        for named in re.findall(r"\.\./\.\./([\w./-]+)", path.read_text(encoding="utf-8")):
            place = root / named
            if place.suffix:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            else:
                place.mkdir(parents=True, exist_ok=True)
    return recipes
