"""Speed of the dense student and its teacher, each part beside a peer in the same run.

    (a) exhaustive scoring by the interaction module, against the module run plainly (concatenate, then run)
    (b) two-stage search, against exhaustive scoring: time a query and share of the exhaustive top 10
    (c) a cross-encoder teacher's pairs a second, against the library's own `predict`, at mixed lengths
    (d) encoding, against the library's own `encode`, ONNX Runtime and OpenVINO, with the loss of quality

One JSON object is printed; `--json` writes it too. Peers run in turns, the median of three is told, and the
machine's peaks (matrix products, stream triad) are measured in the same run. A million passages take 1.5 GB
of memory and 3.5 GB of disk in the temporary folder (TMPDIR), and 1.8 GB more of memory for the graph of (b).

    python benchmarks/dense_student.py --only a --passages 1000000 --threads 2
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from dense_student_parts.encoding import measure_encoding
from dense_student_parts.machine import description, peaks
from dense_student_parts.teacher import measure_teacher
from dense_student_parts.vectors import measure_exhaustive, measure_two_stages


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The sections that were asked for, by name."""
    report: dict[str, Any] = {"machine": description(), "peaks": peaks(), "seed": arguments.seed}
    size, seed = arguments.passages, arguments.seed
    share = arguments.interaction_share
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "a" in arguments.only:
            report["a_exhaustive"] = measure_exhaustive(
                folder, size, share=share, seed=seed, peaks=report["peaks"]
            )
        if "b" in arguments.only:
            report["b_two_stages"] = measure_two_stages(
                folder,
                size,
                queries=arguments.queries,
                share=share,
                seed=seed,
                kinds=arguments.first_stage,
            )
        if "c" in arguments.only:
            report["c_teacher"] = measure_teacher(arguments.teacher, arguments.pairs, seed)
        if "d" in arguments.only:
            report["d_encoding"] = measure_encoding(arguments.texts, seed, arguments.sts)
    return report


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list("abcd"), default=list("abcd"), help="the parts")
    parser.add_argument("--passages", type=int, default=20_000, help="of (a) and (b)")
    parser.add_argument("--queries", type=int, default=50, help="of (b)")
    parser.add_argument(
        "--first-stage",
        nargs="+",
        choices=["exact", "graph"],
        default=["exact", "graph"],
        help="of (b): all vectors, or a graph on them",
    )
    parser.add_argument(
        "--interaction-share",
        type=float,
        default=0.5,
        help="of (a) and (b): spread of the interaction part of a logit, as a share of the cosine part's",
    )
    parser.add_argument("--teacher", help="of (c): folder or hub id of a cross-encoder with one label")
    parser.add_argument("--pairs", type=int, default=512, help="of (c)")
    parser.add_argument("--texts", type=int, default=1000, help="of (d)")
    parser.add_argument(
        "--sts", type=Path, help="of (d): TSV with text1, text2, label, for the loss of quality"
    )
    parser.add_argument(
        "--threads", type=int, help="of PyTorch and the engines; its own choice, if not given"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    text = json.dumps(measure(arguments), indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
