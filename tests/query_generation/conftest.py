"""The models and the world of the generative student's tests."""

from tests.students.generative.conftest import tiny_paths, world

__all__ = ["tiny_paths", "world"]
