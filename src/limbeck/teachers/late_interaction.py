"""Late interaction as a teacher: every token of the query looks for its best match in the passage.

Khattab and Zaharia, *ColBERT*, SIGIR 2020, equation 3; here with the token states of any encoder, without a
projection of its own. It needs a vector a token, so it is no first stage for a large corpus; as a ranker of
candidates it sees what one vector a text averages away, and it needs no training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from limbeck.encoders import autocast
from limbeck.teachers.encoder import EncoderTeacher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from limbeck.teachers.base import Pair


class LateInteractionTeacher(EncoderTeacher):
    """The mean over the query's tokens of the largest cosine with a token of the passage, times `scale`.

    Special tokens take no part. The mean, and not the sum of the paper, keeps long and short queries on one
    scale. Arguments and errors as for `EncoderTeacher`.

    Example:
        >>> LateInteractionTeacher("intfloat/e5-base-v2").score([("who barks", "Dogs bark.")])
        array([14.2])
    """

    name = "late-interaction"

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """The scores (pairs,), from -scale to scale; 0 where a text has no token of its own."""
        states = self._token_states([text for pair in pairs for text in pair])
        return np.array(
            [self.scale * _mean_of_best(states[query], states[passage]) for query, passage in pairs],
            np.float64,
        )

    def _token_states(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Normalised states (tokens, dimension) of each distinct text, the longest texts first."""
        import torch  # noqa: PLC0415  # takes seconds

        distinct = sorted(dict.fromkeys(texts), key=len, reverse=True)
        special = torch.tensor(self.model.tokenizer.all_special_ids, device=self.model.device)
        states: dict[str, Tensor] = {}
        with torch.inference_mode(), autocast(self.model.device):
            for start in range(0, len(distinct), self.batch_size):
                batch = distinct[start : start + self.batch_size]
                features = self.model.preprocess(batch)
                features = {key: _moved(value, self.model.device) for key, value in features.items()}
                kept = (features["attention_mask"] > 0) & ~torch.isin(features["input_ids"], special)
                vectors = torch.nn.functional.normalize(
                    self.model[0](features)["token_embeddings"].float(), dim=-1
                )
                for row, text in enumerate(batch):
                    states[text] = vectors[row][kept[row]]
        return states


def _mean_of_best(query: Tensor, passage: Tensor) -> float:
    """MaxSim of token states (query tokens, dimension) and (passage tokens, dimension), as a mean."""
    if not len(query) or not len(passage):
        return 0.0
    return float((query @ passage.T).amax(1).mean())


def _moved(value: object, device: object) -> object:
    return value.to(device) if hasattr(value, "to") else value
