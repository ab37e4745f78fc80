"""A small sentence encoder of any language, from passages alone: no download, no labels.

Its vocabulary is learnt from the passages, its weights start at random, and it learns to find the passage
that a sentence was taken from (the inverse cloze task). It is far behind a model of the hub, and something to
start from where there is none. Killed and started again it goes on.

    python recipes/small_backbone.py zh_backbone stard_zh/corpus.jsonl.gz csl_zh/corpus.jsonl.gz
    limbeck run recipes/stard_zh.yaml --set backbone=zh_backbone --out runs/stard_zh
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from rich.console import Console
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import BertWordPieceTokenizer
from torch import manual_seed
from transformers import BertConfig, BertModel, BertTokenizerFast

from limbeck.cli.progress import open_progress
from limbeck.data import Passage, Passages, Queries, Query
from limbeck.data.formats.beir import beir_passages
from limbeck.errors import InputError
from limbeck.files import atomic_folder
from limbeck.pipeline.folder import lock_of
from limbeck.pipeline.keys import key_of
from limbeck.pipeline.trainer_progress import TrainerProgress
from limbeck.query_generation.cloze import ClozeWriter, without_sentences
from limbeck.students.dense.lists import JudgedExample
from limbeck.students.dense.training import TrainingSettings, train_in_batch
from limbeck.trainers import last_whole_checkpoint

POSITIONS = 512
HEAD = 64  # numbers of a vector that an attention head reads
MOST = {"vocabulary": 1_000_000, "max_length": POSITIONS, "seed": 2**32 - 1, "epochs": 10_000}
LEAST = {"vocabulary": 100, "layers": 1, "max_length": 8, "sentences": 1, "batch_size": 2, "seed": 0}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder to write, which must not exist")
    parser.add_argument("corpora", type=Path, nargs="+", help="corpus.jsonl[.gz] files; ids differ over all")
    parser.add_argument("--vocabulary", type=int, default=8000, help="pieces of words (8000)")
    parser.add_argument("--layers", type=int, default=4, help="of the encoder (4)")
    parser.add_argument("--width", type=int, default=256, help="of its vectors, a multiple of 64 (256)")
    parser.add_argument("--max-length", type=int, default=128, help="tokens that it reads in training (128)")
    parser.add_argument("--sentences", type=int, default=8, help="of a passage that ask for it, at most (8)")
    parser.add_argument("--epochs", type=float, default=2.0, help="passes over the sentences (2)")
    parser.add_argument("--batch-size", type=int, default=32, help="sentences a batch (32)")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="at its peak (5e-4)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if problem := unusable(arguments):
        parser.error(problem)
    try:
        passages = list(chain.from_iterable(beir_passages(path) for path in arguments.corpora))
        write_backbone(passages, arguments)
    except (InputError, OSError) as error:
        parser.exit(1, f"{error}\n")


def unusable(arguments: argparse.Namespace) -> str | None:
    """What of the arguments cannot be."""
    if arguments.out.exists():
        return f"{arguments.out} exists; name another folder, or remove it"
    if arguments.width < HEAD or arguments.width % HEAD:
        return f"--width {arguments.width}: a multiple of {HEAD} is needed"
    for name, least in LEAST.items():
        value = getattr(arguments, name)
        if value < least:
            return f"--{name.replace('_', '-')} {value}: {least} or more is needed"
    for name, most in MOST.items():
        value = getattr(arguments, name)
        if value > most:
            return f"--{name.replace('_', '-')} {value}: {most} at most"
    if not (arguments.epochs > 0 and 0 < arguments.learning_rate < 1):
        return "--epochs has to be above 0, and --learning-rate between 0 and 1"
    return None


def write_backbone(passages: Sequence[Passage], arguments: argparse.Namespace) -> None:
    """Writes the encoder to `arguments.out`, whole or not at all."""
    work = arguments.out.with_name(f"{arguments.out.name}.training")
    work.mkdir(parents=True, exist_ok=True)
    with lock_of(work / ".lock"):
        if arguments.out.exists():  # another process has made it since
            raise InputError("exists", path=arguments.out, remedy="name another folder, or remove it")
        train_backbone(passages, arguments, work)


def train_backbone(passages: Sequence[Passage], arguments: argparse.Namespace, work: Path) -> None:
    """Trains it in `work`, which is removed once it is written."""
    taken = ClozeWriter(min_words=8, seed=arguments.seed).write(passages, arguments.sentences)
    asked = [
        (f"{passage.id}/{number}", sentence, passage.id)
        for passage, of_passage in zip(passages, taken, strict=True)
        for number, sentence in enumerate(of_passage)
    ]
    if not asked:
        raise InputError(
            f"none of {len(passages):,} passages has a sentence to ask for the rest of it",
            expected="passages of two sentences or more, one of them of 8 words or more",
        )
    left = (
        Passage(passage.id, without_sentences(passage.text, set(of_passage)), passage.title)
        for passage, of_passage in zip(passages, taken, strict=True)
    )
    queries = Queries.write(work / "queries.arrow", (Query(query, text) for query, text, _ in asked))
    rest = Passages.write(work / "passages.arrow", left)
    # With other passages or other arguments it begins anew.
    begun = work / key_of(vars(arguments) | {"out": None}, queries.fingerprint, rest.fingerprint)
    model = untrained(passages, arguments, begun / "start")
    print(f"{len(asked):,} sentences of {len(passages):,} passages, {len(model.tokenizer):,} pieces")
    checkpoints = begun / "checkpoints"
    if found := last_whole_checkpoint(checkpoints):
        print(f"going on from {found.name}")
    with open_progress(Console()) as progress:
        outcome = train_in_batch(
            model,
            [JudgedExample(query, [passage]) for query, _, passage in asked],
            queries=queries,
            passages=rest,
            settings=TrainingSettings(
                epochs=arguments.epochs,
                batch_size=arguments.batch_size,
                learning_rate=arguments.learning_rate,
                seed=arguments.seed,
                checkpoint_every=200,
            ),
            work_dir=checkpoints,
            callbacks=[TrainerProgress(progress, "finding the passages of sentences")],
        )
    if losses := [line["loss"] for line in outcome.curve if "loss" in line]:
        print(f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f} in {outcome.steps:,} steps")
    with atomic_folder(arguments.out) as staging:
        model.save(str(staging), create_model_card=False)
    shutil.rmtree(work)


def untrained(passages: Sequence[Passage], arguments: argparse.Namespace, start: Path) -> SentenceTransformer:
    """An encoder with a vocabulary of the passages and random weights, with mean pooling; kept in `start`."""
    if not start.exists():
        with atomic_folder(start) as staging:
            write_start(passages, arguments, staging)
    module = Transformer(str(start), max_seq_length=arguments.max_length)
    model = SentenceTransformer(modules=[module, Pooling(arguments.width)], device="cpu")
    model.max_seq_length = arguments.max_length
    return model


def write_start(passages: Sequence[Passage], arguments: argparse.Namespace, folder: Path) -> None:
    """Learns the vocabulary and draws the weights."""
    pieces = BertWordPieceTokenizer(lowercase=True)
    texts = (text for passage in passages for text in (passage.title, passage.text))
    # Half for letters: Chinese has thousands, of which the library would leave out all but a thousand.
    pieces.train_from_iterator(
        texts,
        vocab_size=arguments.vocabulary,
        limit_alphabet=arguments.vocabulary // 2,
        show_progress=False,
    )
    tokenizer = BertTokenizerFast(tokenizer_object=pieces._tokenizer, model_max_length=POSITIONS)
    manual_seed(arguments.seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=arguments.width,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.width // HEAD,
        intermediate_size=4 * arguments.width,
        max_position_embeddings=POSITIONS,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
