"""The command line: `limbeck VERB …`, one file a verb.

    app (verbs, errors, exit codes) -> run, stages, quickstart, index build -> running -> limbeck.pipeline
                                    -> search, index add, index delete -> opening -> limbeck.students
                                    -> evaluate, compare, doctor

Importing this is light; a verb imports what it needs when it is called.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings

#: The libraries beneath draw bars and give advice of their own; the command line shows one display, not five.
QUIET = {
    "DATASETS_VERBOSITY": "error",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def main() -> None:
    """What `limbeck` runs: quiets the libraries, then hands the arguments to the verb."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    if not sys.warnoptions:  # `python -W default` shows them
        warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that is not UTF-8 gets "?" and no traceback
            stream.reconfigure(errors="replace")
    from limbeck.cli.app import app  # noqa: PLC0415 - the environment comes first

    app()
