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

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import BertWordPieceTokenizer
from torch import manual_seed
from transformers import BertConfig, BertModel, BertTokenizerFast

from limbeck.data import Judgements, Passage, Passages, Queries, Query
from limbeck.data.formats.beir import beir_passages
from limbeck.errors import InputError
from limbeck.files import atomic_folder
from limbeck.pipeline.keys import key_of
from limbeck.query_generation.cloze import ClozeWriter, without_sentences
from limbeck.students.dense.training import TrainingSettings, train_in_batch

POSITIONS = 512


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
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists; name another folder, or remove it")
    try:
        passages = list(chain.from_iterable(beir_passages(path) for path in arguments.corpora))
        write_backbone(passages, arguments)
    except InputError as error:
        parser.exit(1, f"{error}\n")


def write_backbone(passages: Sequence[Passage], arguments: argparse.Namespace) -> None:
    """Writes the encoder to `arguments.out`, whole or not at all."""
    work = arguments.out.with_name(f"{arguments.out.name}.training")
    work.mkdir(parents=True, exist_ok=True)
    with atomic_folder(arguments.out) as staging:
        model = untrained(passages, arguments, work)
        taken = ClozeWriter(min_words=8, seed=arguments.seed).write(passages, arguments.sentences)
        asked = [
            (f"{passage.id}/{number}", sentence, passage.id)
            for passage, of_passage in zip(passages, taken, strict=True)
            for number, sentence in enumerate(of_passage)
        ]
        left = (
            Passage(passage.id, without_sentences(passage.text, set(of_passage)), passage.title)
            for passage, of_passage in zip(passages, taken, strict=True)
        )
        print(f"{len(asked):,} sentences of {len(passages):,} passages, {len(model.tokenizer):,} pieces")
        outcome = train_in_batch(
            model,
            Judgements([(query, passage, 1) for query, _, passage in asked]),
            queries=Queries.write(work / "queries.arrow", (Query(query, text) for query, text, _ in asked)),
            passages=Passages.write(work / "passages.arrow", left),
            settings=TrainingSettings(
                epochs=arguments.epochs,
                batch_size=arguments.batch_size,
                learning_rate=arguments.learning_rate,
                seed=arguments.seed,
                checkpoint_every=200,
            ),
            # Another call with other arguments begins anew.
            work_dir=work / key_of(vars(arguments) | {"out": None}),
        )
        for line in outcome.curve:
            if "loss" in line:
                print(f"step {line['step']:.0f}: loss {line['loss']:.3f}")
        model.save(str(staging), create_model_card=False)
    shutil.rmtree(work)


def untrained(passages: Sequence[Passage], arguments: argparse.Namespace, work: Path) -> SentenceTransformer:
    """An encoder with a vocabulary of the passages and random weights, with mean pooling."""
    pieces = BertWordPieceTokenizer(lowercase=True)
    texts = (text for passage in passages for text in (passage.title, passage.text))
    pieces.train_from_iterator(texts, vocab_size=arguments.vocabulary, show_progress=False)
    tokenizer = BertTokenizerFast(tokenizer_object=pieces._tokenizer, model_max_length=POSITIONS)
    manual_seed(arguments.seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=arguments.width,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.width // 64,
        intermediate_size=4 * arguments.width,
        max_position_embeddings=POSITIONS,
    )
    start = work / "start"
    BertModel(config).save_pretrained(start)
    tokenizer.save_pretrained(start)
    module = Transformer(str(start), max_seq_length=arguments.max_length)
    model = SentenceTransformer(modules=[module, Pooling(arguments.width)], device="cpu")
    model.max_seq_length = arguments.max_length
    return model


if __name__ == "__main__":
    main()
