"""What teachers that read each text by itself with an encoder have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limbeck.encoders import load_encoder, model_digest

if TYPE_CHECKING:
    import os

    from sentence_transformers import SentenceTransformer

#: The temperature 0.05 of contrastive training, which spreads cosines as far as a cross-encoder's logits.
SCALE = 20.0


class EncoderTeacher:
    """A teacher whose score is a similarity of what an encoder makes of two texts, times `scale`.

    In bfloat16 (machines that compute it in hardware) a cosine moves by less than 0.01 with what else is in
    the batch; the cache keeps the first.

    Args:
        model: a SentenceTransformer, or the folder or hub id of one.
        scale: what the similarity is multiplied with.
        batch_size: texts a forward pass.

    Raises:
        InputError: when the model cannot be loaded.
    """

    prompt = ""

    def __init__(
        self,
        model: SentenceTransformer | str | os.PathLike[str],
        *,
        scale: float = SCALE,
        batch_size: int = 64,
    ) -> None:
        self.model = load_encoder(model)
        self.scale = scale
        self.batch_size = batch_size
        self.version = f"{model_digest(self.model)}/scale={scale:g}/max_length={self.model.max_seq_length}"
