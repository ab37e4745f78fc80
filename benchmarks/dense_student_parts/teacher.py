"""A cross-encoder's pairs a second: `CrossEncoderTeacher` against the library's own `predict`."""

from __future__ import annotations

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from dense_student_parts.machine import in_turns
from dense_student_parts.texts import length_quantiles, pairs
from limbeck.backbones import locate_backbone
from limbeck.encoders import autocast
from limbeck.teachers import CrossEncoderTeacher


def measure_teacher(model: str | None, count: int, seed: int) -> dict[str, object]:
    """(c) The same model and pairs, in turns.

    The peer is `predict` as a user calls it: float32, batches of 32. To tell what comes of what, it is also
    run under autocast. Without a model the packaged MiniLM gets a random head: its speed is that of any
    cross-encoder of its size, and its logits are compared among themselves.
    """
    torch.manual_seed(seed)
    library = CrossEncoder(model or locate_backbone(), num_labels=1, max_length=512)
    library.float()
    teacher = CrossEncoderTeacher(library)
    asked = pairs(count, seed)
    found: dict[str, np.ndarray] = {}

    def predict() -> None:
        found["predict"] = library.predict(asked, activation_fn=torch.nn.Identity(), show_progress_bar=False)

    def predict_autocast() -> None:
        with autocast(library.device):
            found["predict_autocast"] = library.predict(
                asked, activation_fn=torch.nn.Identity(), show_progress_bar=False
            )

    def ours() -> None:
        found["limbeck"] = teacher.score(asked)

    times = in_turns({"predict": predict, "predict_autocast": predict_autocast, "limbeck": ours})
    mask = library.preprocess(asked)["attention_mask"]
    return {
        "model": model or "all-MiniLM-L6-v2 with a random head",
        "pairs": count,
        "tokens_a_pair": length_quantiles(mask.sum(dim=1).tolist()),
        "pairs_per_s": {name: round(count / time, 1) for name, time in times.items()},
        "times_predict": {name: round(times["predict"] / time, 2) for name, time in times.items()},
        "spread_of_logits": float(np.std(found["predict"])),
        "largest_difference": {
            name: float(np.abs(found[name] - found["predict"]).max())
            for name in ("predict_autocast", "limbeck")
        },
        "rank_correlation": float(
            np.corrcoef(*(np.argsort(np.argsort(found[n])) for n in ("predict", "limbeck")))[0, 1]
        ),
    }
