"""What the student's own modules share: how a `SentenceTransformer` writes and reads them."""

from __future__ import annotations

from typing import Any, Self

from sentence_transformers.base.modules import Module

#: Of what the library passes to `Module.load`, that which says where on the hub a file is.
_HUB_OPTIONS = ("token", "cache_folder", "revision", "local_files_only")


class SavedModule(Module):
    """A module that is its constructor's arguments (`config_keys`) and its weights.

    In the folder of a saved model it has a folder of its own with `config.json` and `model.safetensors`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def save(self, output_path: str, *_: object, safe_serialization: bool = True, **__: object) -> None:
        """Writes configuration and weights into a folder."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Self:  # type: ignore[override]
        """Reads what `save` wrote, from a folder or from the hub.

        Args:
            model_name_or_path: folder of the whole model, or its id on the hub.
            subfolder: of this module in it.
            kwargs: what the library passes to every module; only where on the hub to look is used.
        """
        hub = {key: kwargs[key] for key in _HUB_OPTIONS if key in kwargs}
        module = cls(**cls.load_config(model_name_or_path, subfolder=subfolder, **hub))
        cls.load_torch_weights(model_name_or_path, subfolder=subfolder, model=module, **hub)
        return module
