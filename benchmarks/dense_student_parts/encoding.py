"""Texts a second of an encoder: Limbeck's `encode` against the library's, ONNX Runtime and OpenVINO.

The engines run the transformer alone, tokens to last states; tokenising, batches and pooling are the same for
all of them: the library's tokeniser, batches of about as many tokens (`limbeck.batching`), the mean of the
states, normalised. So the engines have the benefit of those batches, and the library's `encode` has its own.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from sentence_transformers import SentenceTransformer

from dense_student_parts.machine import in_turns
from dense_student_parts.texts import length_quantiles, passages
from limbeck.backbones import locate_backbone
from limbeck.batching import CPU_TOKENS, narrowed
from limbeck.encoders import encode, load_encoder

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
#: Takes the arrays of a batch by name and gives the last states (texts, tokens, width).
Engine = Callable[[dict[str, NDArray[np.int64]]], NDArray[np.float32]]
Encoder = Callable[[list[str]], NDArray[np.float32]]


class LastStates(torch.nn.Module):
    """The transformer with plain tensors in and out, as an export needs it."""

    def __init__(self, transformer: torch.nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Tokens (texts, tokens) to their last states (texts, tokens, width)."""
        states: torch.Tensor = self.transformer(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        return states


def measure_encoding(count: int, seed: int, sts: Path | None) -> dict[str, object]:
    """(d) The same model and texts, in turns; with a file of graded pairs, Spearman's correlation of each."""
    model = load_encoder(locate_backbone())
    texts = passages(count, seed)
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        encoders = _encoders(model, Path(folder), missing)
        vectors: dict[str, NDArray[np.float32]] = {}
        works = {
            name: lambda name=name, run=run: vectors.__setitem__(name, run(texts))
            for name, run in encoders.items()
        }
        times = in_turns(works)
        spearman = {name: _spearman(run, sts) for name, run in encoders.items()} if sts else {}
    reference = vectors["library"]
    cosines = {name: (found * reference).sum(axis=1) for name, found in vectors.items()}
    mask = model.preprocess(texts)["attention_mask"]
    return {
        "model": "all-MiniLM-L6-v2",
        "texts": count,
        "tokens_a_text": length_quantiles(mask.sum(dim=1).tolist()),
        "texts_per_s": {name: round(count / time, 1) for name, time in times.items()},
        "times_library": {name: round(times["library"] / time, 2) for name, time in times.items()},
        "cosine_to_library": {
            name: {"mean": round(float(found.mean()), 5), "min": round(float(found.min()), 5)}
            for name, found in cosines.items()
        },
        "sts_spearman": spearman or "no file given (--sts)",
        "not_measured": missing,
    }


def _encoders(model: SentenceTransformer, folder: Path, missing: dict[str, str]) -> dict[str, Encoder]:
    encoders: dict[str, Encoder] = {
        "library": lambda texts: model.encode(texts, normalize_embeddings=True, show_progress_bar=False),
        "limbeck": lambda texts: encode(model, texts),
    }
    needed = {"onnx", "onnxscript", "onnxruntime"}
    absent = sorted(name for name in needed if find_spec(name) is None)
    if absent:
        missing["onnx, openvino"] = f"not installed: {', '.join(absent)}"
        return encoders
    plain, int8 = _exported(model, folder)
    engines: dict[str, Engine] = {"onnx_float32": _onnx(plain), "onnx_int8": _onnx(int8)}
    if find_spec("openvino") is None:
        missing["openvino"] = "not installed"
    else:
        # Its own choice of precision: bfloat16 where the machine computes it.
        engines["openvino"] = _openvino(plain)
    encoders |= {
        name: lambda texts, engine=engine: _mean_pooled(model, engine, texts)
        for name, engine in engines.items()
    }
    return encoders


def _mean_pooled(model: SentenceTransformer, engine: Engine, texts: list[str]) -> NDArray[np.float32]:
    features = model.preprocess(texts)
    vectors = np.empty((len(texts), model.get_embedding_dimension() or 0), np.float32)
    for positions, batch in narrowed(features, CPU_TOKENS):
        arrays = {name: batch[name].numpy() for name in INPUTS}
        weights = arrays["attention_mask"][:, :, None].astype(np.float32)
        sums = (engine(arrays) * weights).sum(axis=1)
        vectors[positions] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return vectors


def _exported(model: SentenceTransformer, folder: Path) -> tuple[Path, Path]:
    """The transformer as ONNX, in float32 and with weights and products in int8 (dynamic quantisation)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415

    transformer: Any = model[0]
    example = model.preprocess(["a short text", "and another one that is longer"])
    sizes = {0: torch.export.Dim("texts", min=1, max=4096), 1: torch.export.Dim("tokens", min=2, max=512)}
    program = torch.onnx.export(
        LastStates(transformer.model).eval(),
        tuple(example[name] for name in INPUTS),
        input_names=INPUTS,
        output_names=["states"],
        dynamic_shapes=dict.fromkeys(INPUTS, sizes),
        dynamo=True,
        verbose=False,
    )
    plain, int8 = folder / "plain.onnx", folder / "int8.onnx"
    program.save(str(plain))
    quantize_dynamic(plain, int8, weight_type=QuantType.QInt8, per_channel=True)
    return plain, int8


def _onnx(path: Path) -> Engine:
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda arrays: session.run(None, arrays)[0]


def _openvino(path: Path) -> Engine:
    import openvino  # noqa: PLC0415

    threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = openvino.Core().compile_model(path, "CPU", threads)
    return lambda arrays: compiled([arrays[name] for name in INPUTS])[0]


def _spearman(run: Encoder, path: Path) -> float:
    """Spearman's correlation of the cosine with the grades of a TSV file with text1, text2 and label."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    first, second = (run([row[column] for row in rows]) for column in ("text1", "text2"))
    cosines = (first * second).sum(axis=1)
    return round(float(stats.spearmanr(cosines, [float(row["label"]) for row in rows]).statistic), 4)
