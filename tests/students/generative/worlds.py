"""Small worlds for the generative student: random models of every kind, passages, and a plain beam search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from limbeck.data import Judgements, Passage, Passages, Queries, Query
from limbeck.indexes.fm_index import Ragged
from limbeck.students.generative.decoding import Generated
from limbeck.students.generative.identifiers import BodyView, TitleView
from limbeck.students.generative.model import load_generator
from limbeck.students.generative.targets import GenerationTargets
from limbeck.students.generative.training import GenerationSettings, train_generator
from tests.tiny_models import VOCABULARY, tiny_config, tiny_tokenizer

KINDS = ("bart", "t5", "bert", "qwen")
PASSAGES = [
    Passage("d0", "cat dog bird fish", "cat"),
    Passage("d1", "cat dog bird in the sea", "cat dog"),
    Passage("d2", "paris is the capital of france", "paris"),
    Passage("d3", "berlin is the capital of germany", "berlin"),
    Passage("d4", "red green blue", ""),
    Passage("d5", "queen"),
    Passage("d6", "read the file and sort the list", "file"),
]


ODD = [
    Passage("one", "queen"),
    Passage("markers", "the <|title|> cat <|/body|> [SEP] dog", "<|/title|>"),
    Passage("nothing", "\u0000\u0001", "\u0001"),
    Passage("chinese", "红 green 中国 x", "蓝"),
    Passage("same", "cat dog bird fish", "cat"),
]
NEW = [Passage("new", "king of the sea", "king"), Passage("other", "green tree")]


def save_tiny(kind: str, folder: Path, *, dropout: float = 0.0, seed: int = 0) -> Path:
    """Write a random model with a small tokenizer, and return the folder."""
    torch.manual_seed(seed)
    size = len(VOCABULARY)
    ids = {"pad_token_id": 0, "eos_token_id": 3, "bos_token_id": 2}
    if kind == "bart":
        layers = {
            f"{part}_{name}": value
            for part in ("encoder", "decoder")
            for name, value in {"layers": 2, "attention_heads": 2, "ffn_dim": 64}.items()
        }
        model = BartForConditionalGeneration(
            BartConfig(
                vocab_size=size, d_model=32, max_position_embeddings=128, init_std=0.2, dropout=dropout,
                decoder_start_token_id=3, forced_eos_token_id=None, **layers, **ids,
            )
        )  # fmt: skip
    elif kind == "t5":
        model = T5ForConditionalGeneration(
            T5Config(
                vocab_size=size, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
                dropout_rate=dropout, initializer_factor=1.0, decoder_start_token_id=0, **ids,
            )
        )  # fmt: skip
    elif kind == "bert":
        model = BertModel(tiny_config(hidden_dropout_prob=dropout))
    else:
        model = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=264, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                num_key_value_heads=1, intermediate_size=64, max_position_embeddings=128,
                initializer_range=0.2, attention_dropout=dropout, **ids,
            )
        )  # fmt: skip
    model.save_pretrained(folder)
    # The library reads a Qwen's tokenizer as a byte-level one, whatever was saved.
    (byte_level_tokenizer() if kind == "qwen" else tiny_tokenizer()).save_pretrained(folder)
    return folder


def load_tiny(folder: Path, **options):
    return load_generator(folder, device="cpu", **options)


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer as BART's: its merges make `cat` and `Ġcat`, so words depend on their space."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("c", "a"), ("ca", "t"), ("Ġ", "cat"), ("Ġ", "a")]
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    tokens = [*specials, *alphabet, *("".join(pair) for pair in merges)]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    raw = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", vocab["<s>"]), ("</s>", vocab["</s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """A unigram tokenizer as T5's: a word's first piece begins with `▁`, and unknown characters are kept."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", "▁cat", "cat", "▁a", *"abcdefghijklmnopqrstuvwxyz中国京"]
    raw = Tokenizer(models.Unigram([(piece, -1.0 - place / 99) for place, piece in enumerate(pieces)], 2))
    raw.normalizer = normalizers.NFKC()
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


@dataclass(frozen=True)
class World:
    passages: Passages
    queries: Queries
    judgements: Judgements


def trained_bart(folder: Path, passages: Sequence[Passage]) -> Path:
    """A model that has learnt by heart which title and body go with which text as a query."""
    generator = load_tiny(save_tiny("bart", folder / "start"))
    filled = [passage for passage in passages if passage.text.isprintable()]
    examples = GenerationTargets.draw(
        Judgements((passage.id, passage.id, 1) for passage in filled),
        queries=Queries.write(folder / "q.arrow", [Query(passage.id, passage.text) for passage in filled]),
        passages=Passages.write(folder / "p.arrow", filled),
        views=[TitleView(), BodyView(max_length=4)],
        vocabulary=generator.vocabulary,
    )
    settings = GenerationSettings(epochs=40, batch_size=8, learning_rate=3e-3, bf16=False, label_smoothing=0)
    train_generator(generator, examples, settings=settings, work_dir=folder / "work")
    generator.save(folder / "trained")
    return folder / "trained"


def make_world(folder: Path) -> World:
    """Seven passages; two queries each of three of them."""
    asked = {
        "q0": ("cat dog", "d0"),
        "q1": ("what is paris", "d2"),
        "q2": ("berlin", "d3"),
        "q3": ("sort", "d6"),
    }
    return World(
        Passages.write(folder / "passages.arrow", PASSAGES),
        Queries.write(folder / "queries.arrow", [Query(id_, text) for id_, (text, _) in asked.items()]),
        Judgements((id_, passage, 1) for id_, (_, passage) in asked.items()),
    )


def plain_search(generator, passages: Sequence[Sequence[int]], queries, views, markers, beams) -> Generated:
    """The rule of `decoding`, said again without an index, a cache or a batch.

    The model reads every prefix from its beginning. What may follow a prefix is a full-width mask,
    made by looking at every place of every passage.
    """
    rows, first = [], []
    for number, query in enumerate(queries):
        anywhere = next((view for view in views if not view.whole), None)
        if anywhere is not None:
            first.append(_next(generator, query, markers[anywhere.name].start, ()))
        for place, view in enumerate(views):
            found = _plain_view(generator, passages, query, view, markers, beams)
            rows += [(number, place, *identifier) for identifier in found]
    return Generated(
        np.searchsorted([row[0] for row in rows], np.arange(len(queries) + 1)),
        np.array([row[1] for row in rows]),
        Ragged.from_rows([list(row[2]) for row in rows]),
        np.array([row[3] for row in rows]),
        np.array([row[4] for row in rows]),
        np.array(first, np.float32) if first else None,
    )


def _plain_view(generator, passages, query, view, markers, beams) -> Iterator[tuple]:
    """The identifiers of one query in one view: tokens, log-probability, count."""
    marker = markers[view.name]
    banned = {token for other in markers.values() for token in (other.start, other.end)}
    live = [((), 0.0)]
    for length in range(view.max_length + view.whole):
        candidates = []
        for slot, (prefix, score) in enumerate(live):
            counts = _follow(passages, (marker.start, *prefix) if view.whole else prefix)
            chances = _next(generator, query, marker.start, prefix)
            mask = np.full(len(chances), -np.inf)
            allowed = [token for token in counts if token != generator.vocabulary.unknown]
            mask[[token for token in allowed if (view.whole and length) or token not in banned]] = 0
            for token in np.flatnonzero(np.isfinite(chances + mask)).tolist():
                sum_ = score + float(chances[token])
                candidates.append((-sum_, slot, token, prefix, score, counts[token]))
        candidates.sort(key=lambda one: one[:3])
        yield from (
            ((marker.start, *prefix, token), score, count)
            for _, _, token, prefix, score, count in candidates[:beams]
            if token == marker.end
        )
        going = [one for one in candidates if one[2] != marker.end and length < view.max_length][:beams]
        live = [((*prefix, token), -sum_) for sum_, _, token, prefix, _, _ in going]
        if not view.whole:
            yield from ((*live[rank], one[5]) for rank, one in enumerate(going))


def _follow(passages: Sequence[Sequence[int]], prefix: tuple[int, ...]) -> Counter[int]:
    length = len(prefix)
    return Counter(
        passage[at + length]
        for passage in passages
        for at in range(len(passage) - length)
        if tuple(passage[at : at + length]) == prefix
    )


@torch.inference_mode()
def _next(generator, query: str, prompt: int, prefix: tuple[int, ...]) -> np.ndarray:
    """Log-probabilities of what follows, by reading the whole sequence; the last target is a stand-in."""
    if hasattr(generator, "table"):
        return generator.chances((query, prompt, *prefix))
    inputs = generator.training_inputs([query], [prompt], [[*prefix, prompt]])
    inputs.pop("labels")
    logits = generator.model(**inputs).logits[0, -1].float()
    return torch.log_softmax(logits, -1).numpy()


def listed(generated: Generated) -> list[tuple]:
    """Each identifier as (query, view, tokens, count); the scores are compared apart."""
    owners = np.repeat(np.arange(len(generated.query_offsets) - 1), np.diff(generated.query_offsets))
    return [
        (int(owner), int(view), tuple(tokens.tolist()), int(count))
        for owner, view, tokens, count in zip(
            owners, generated.views, generated.tokens, generated.counts, strict=True
        )
    ]
