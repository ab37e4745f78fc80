"""Readers and writers of the formats in which retrieval data comes.

An `import_*` streams from a source into a folder of Limbeck's own tables, which `limbeck.data.open_dataset`
opens again; after an error that folder is as it was. `read_*` and `write_*` are for single files.
"""

from limbeck.data.formats.beir import beir_passages, import_beir, write_beir
from limbeck.data.formats.hub import import_hub, import_ir_datasets
from limbeck.data.formats.msmarco import import_msmarco, write_msmarco
from limbeck.data.formats.pairs import read_pairs, write_pairs
from limbeck.data.formats.qrels import read_qrels, write_qrels
from limbeck.data.formats.trec import iter_run, read_run, write_run

__all__ = [
    "beir_passages",
    "import_beir",
    "import_hub",
    "import_ir_datasets",
    "import_msmarco",
    "iter_run",
    "read_pairs",
    "read_qrels",
    "read_run",
    "write_beir",
    "write_msmarco",
    "write_pairs",
    "write_qrels",
    "write_run",
]
