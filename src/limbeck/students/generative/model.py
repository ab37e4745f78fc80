"""Loading the model that generates identifiers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    EncoderDecoderModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from limbeck.backbones import DEFAULT_BACKBONE, locate_backbone
from limbeck.encoders import quiet
from limbeck.errors import InputError
from limbeck.students.generative.causal import CausalGenerator
from limbeck.students.generative.generator import SETTINGS, VERSION, SavedGenerator
from limbeck.students.generative.seq2seq import Seq2SeqGenerator, drop_pooler, widen
from limbeck.students.generative.vocabulary import Vocabulary

#: The names of the views that come with the library.
VIEW_NAMES = ("title", "body", "pseudo-query")
#: The first layers of an encoder that read the query, at most. A state of an upper layer tells what a text
#: means and hides which tokens it has; a generator, which has to copy names, then learns many times slower.
ENCODER_LAYERS = 2
STARTS = ("auto", "seq2seq", "encoder-decoder", "causal")
KINDS = (Seq2SeqGenerator.kind, CausalGenerator.kind)


def load_generator(
    name: str | Path = DEFAULT_BACKBONE,
    *,
    start: str = "auto",
    views: Sequence[str] = VIEW_NAMES,
    max_query_length: int = 64,
    encoder_layers: int | None = ENCODER_LAYERS,
    decoder_layers: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> Seq2SeqGenerator | CausalGenerator:
    """A generator at step 0, or one that was saved.

    The markers of the views are added to its tokenizer, and embeddings for them to the model, where it does
    not have them yet.

    Args:
        name: a folder that `save` wrote; or a folder, packaged name or hub id of any model of the
            `transformers` library that generates, or of an encoder.
        start: how a model becomes a generator. `"seq2seq"`: as it is (BART, T5); `"encoder-decoder"`: two
            copies of an encoder, the second with a cross-attention that starts at random (Rothe et al.,
            "Leveraging Pre-trained Checkpoints for Sequence Generation Tasks", TACL 2020, section 3);
            `"causal"`: a decoder-only model as it is; `"auto"`: what its configuration says. A saved
            generator is what it was.
        views: names of the views that it is to generate.
        max_query_length: tokens of a query that are read; a saved generator has its own.
        encoder_layers: the first layers that the reading half of an `"encoder-decoder"` keeps, at most; None
            keeps all. See `ENCODER_LAYERS`.
        decoder_layers: those that the writing half keeps.
        seed: of the parameters that start at random.
        device: where the model lives; None takes the best there is.

    Returns:
        The generator, not in training mode.

    Raises:
        InputError: nothing can be loaded from there, it cannot become what `start` says, or its tokenizer
            is not a fast one.

    Example:
        >>> generator = load_generator("all-MiniLM-L6-v2")  # doctest: +SKIP
        >>> generator.kind  # doctest: +SKIP
        'seq2seq'
    """
    settings = _settings(Path(locate_backbone(str(name))) / SETTINGS)
    model, vocabulary = load_parts(
        name,
        start=start,
        views=views,
        layers=(encoder_layers, decoder_layers),
        seed=seed,
        device=device,
        saved_as=settings["kind"] if settings else None,
    )
    generator: type[SavedGenerator] = Seq2SeqGenerator if model.config.is_encoder_decoder else CausalGenerator
    if settings:
        max_query_length = settings["max_query_length"]
    made = generator(model, vocabulary, max_query_length)
    assert isinstance(made, Seq2SeqGenerator | CausalGenerator)  # noqa: S101  # for mypy
    return made


def load_saved_generator(
    folder: Path | str, *, views: Sequence[str] = VIEW_NAMES, device: str | None = None
) -> Seq2SeqGenerator | CausalGenerator:
    """A generator that was saved, in full.

    Args:
        folder: what `save` wrote.
        views: names of the views that it is to generate.
        device: where the model lives; None takes the best there is.

    Raises:
        InputError: some of it is missing or damaged. `load_generator` would take what is left for a model
            that has learnt nothing yet, and make up the rest.
    """
    if not (Path(folder) / SETTINGS).is_file():
        raise InputError(
            "there is no saved generator here",
            path=folder,
            expected=f"a folder that a generator was saved in, {SETTINGS} among its files",
            remedy="restore the folder from a copy, or train the generator again",
        )
    return load_generator(folder, views=views, device=device)


def load_parts(
    name: str | Path,
    *,
    start: str = "auto",
    kinds: Sequence[str] = STARTS[1:],
    saved_as: str | None = None,
    views: Sequence[str] = (),
    layers: tuple[int | None, int | None] = (ENCODER_LAYERS, None),
    seed: int = 0,
    device: str | None = None,
) -> tuple[Any, Vocabulary]:
    """A model that generates, and its tokenizer.

    Args:
        name: as `load_generator` has it.
        start: how a model becomes one that generates, as `load_generator` has it.
        kinds: what it may start as.
        saved_as: what a model is that this library has saved; it must be complete. None for any other.
        views: names of the views whose markers the tokenizer gets.
        layers: `encoder_layers` and `decoder_layers`, as `load_generator` has them.
        seed: of the parameters that start at random.
        device: where the model lives; None takes the best there is.

    Returns:
        The model, in float32 and not in training mode, and the tokenizer.

    Raises:
        InputError: nothing can be loaded from there, it cannot become what `start` says or is none of the
            kinds, or its tokenizer is not a fast one.
    """
    if start not in STARTS:
        raise InputError(f"the start is '{start}'", expected=f"one of {', '.join(STARTS)}")
    place = locate_backbone(str(name))
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with quiet(), torch.random.fork_rng(devices=[]):  # the caller's random numbers stay what they were
        torch.manual_seed(seed)
        try:
            vocabulary = Vocabulary(AutoTokenizer.from_pretrained(place))
            config = AutoConfig.from_pretrained(place)
            kind = saved_as or (_chosen(config, str(name)) if start == "auto" else start)
            _require(kind, kinds, str(name))
            model = _load(place, kind, vocabulary, layers, complete=saved_as is not None)
        except InputError:
            raise
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise InputError(
                f"no generator can be loaded from '{name}': {(str(error).splitlines() or [''])[0]}",
                expected="a model of the transformers library that generates, or an encoder",
            ) from error
        vocabulary.add_markers(views)
        widen(model, len(vocabulary))
    return model.float().to(device).eval(), vocabulary


def _settings(path: Path) -> dict[str, Any] | None:
    """Of a saved generator; None where there is none."""
    if not path.is_file():
        return None
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = settings["version"] == VERSION and settings["kind"] in KINDS and settings["max_query_length"]
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise InputError(
            "the settings of the generator cannot be read",
            path=path,
            expected=f"version {VERSION}",
            remedy="train it again",
        )
    return settings


def _chosen(config: Any, name: str) -> str:
    if config.is_encoder_decoder:
        return "seq2seq"
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "encoder-decoder"
    if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "causal"
    raise InputError(
        f"'{name}' is a model of the type '{config.model_type}'",
        expected="a sequence-to-sequence model, a decoder-only one, or an encoder",
    )


def _require(kind: str, kinds: Sequence[str], name: str) -> None:
    if kind not in kinds:
        raise InputError(f"'{name}' is a model of the kind '{kind}'", expected=f"one of {', '.join(kinds)}")


def _load(
    place: str, start: str, vocabulary: Vocabulary, layers: tuple[int | None, int | None], *, complete: bool
) -> Any:
    if start == "encoder-decoder":
        return _warm_started(place, vocabulary, layers)
    kind: Any = AutoModelForCausalLM if start == "causal" else AutoModelForSeq2SeqLM
    model, report = kind.from_pretrained(place, output_loading_info=True)
    if complete and report["missing_keys"]:
        raise InputError(
            f"the saved generator lacks {len(report['missing_keys'])} of its weights",
            path=place,
            remedy="train it again",
        )
    if start == "seq2seq":
        drop_pooler(model)
    return model


def _warm_started(place: str, vocabulary: Vocabulary, layers: tuple[int | None, int | None]) -> Any:
    there = AutoConfig.from_pretrained(place).num_hidden_layers
    kept = {
        f"{half}_num_hidden_layers": min(wanted or there, there)
        for half, wanted in zip(("encoder", "decoder"), layers, strict=True)
    }
    model = EncoderDecoderModel.from_encoder_decoder_pretrained(place, place, **kept)
    tokenizer = vocabulary.tokenizer
    starts = (tokenizer.cls_token_id, tokenizer.bos_token_id, vocabulary.padding)
    for settings in (model.config, model.generation_config):
        settings.decoder_start_token_id = next(token for token in starts if token is not None)
        settings.pad_token_id = vocabulary.padding
        settings.eos_token_id = tokenizer.sep_token_id
    drop_pooler(model)
    return model
