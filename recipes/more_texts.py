"""Texts without labels for a set of pairs, of which a teacher scores pairs: from elsewhere, and varied.

Elsewhere are other sets of pairs and the sentences of corpora. A varied text is a training text of which a
word or two are exchanged for near ones, as the backbone sees words, or left out; what it means then is the
teacher's to say (after the data augmentation of TinyBERT, arXiv 1909.10351). Texts that stand in pairs to
evaluate by, exactly so, are left out. For languages that set words apart by spaces.

    D=../shared/datasets
    python recipes/more_texts.py $D/sick_en ../sick_more.jsonl --pairs $D/stsb_en --longest 14
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from few_labels import split_file, texts_of

from limbeck.backbones import DEFAULT_BACKBONE, locate_backbone
from limbeck.data.formats import read_pairs
from limbeck.data.formats.corpus import corpus_passages
from limbeck.encoders import encode, load_encoder, quiet
from limbeck.errors import InputError
from limbeck.files import write_text

#: Words that are exchanged stand so often at least, and for one of so many near ones, mostly of the nearest.
COMMON, NEAREST, STEEPNESS = 3, 12, 0.35
#: Shares of the varied texts with one change (the others have two), and of the changes that leave a word out.
ONE_CHANGE, LEFT_OUT = 0.6, 0.15
#: Words of a sentence of a corpus; fewer than so many say little by themselves.
SHORTEST = 5
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'])")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", type=Path, help="folder with train, dev and test (.tsv or .tsv.gz)")
    parser.add_argument("out", type=Path, help="file to write (.jsonl)")
    parser.add_argument("--pairs", type=Path, nargs="*", default=[], help="folders of other sets of pairs")
    parser.add_argument("--corpora", type=Path, nargs="*", default=[], help="files of passages")
    parser.add_argument("--sentences", type=int, default=5000, help="drawn from each corpus")
    parser.add_argument("--varied", type=int, default=1, help="of each training text; 0 for none")
    parser.add_argument("--longest", type=int, default=24, help="words of a text from elsewhere")
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE, help="by which words are near each other")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.sentences < 1 or arguments.varied < 0:
        parser.error("--sentences is 1 or more, --varied 0 or more")
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists; name another file, or remove it")
    rng = random.Random(arguments.seed)
    try:
        own = split_texts(arguments.set, "train")
        found = [
            text
            for folder in arguments.pairs
            for text in split_texts(folder, "train")
            if len(text.split()) <= arguments.longest
        ]
        for corpus in arguments.corpora:
            sentences = sentences_of(corpus, arguments.longest)
            found += rng.sample(sentences, min(arguments.sentences, len(sentences)))
        if arguments.varied:
            near = near_words([*own, *found], arguments.backbone)
            found += [text for one in own for text in varied(one, near, arguments.varied, rng)]
        texts = new_ones(found, {*own, *evaluated(arguments.set)})
        rng.shuffle(texts)
        with write_text(arguments.out) as stream:
            for row, text in enumerate(texts):
                stream.write(json.dumps({"_id": str(row), "text": text}, ensure_ascii=False) + "\n")
    except InputError as error:
        parser.exit(1, f"{error}\n")
    print(f"{len(texts):,} texts without labels")


def new_ones(texts: Iterable[str], known: set[str]) -> list[str]:
    """The texts that are not known, each once; an InputError where none is left."""
    found = [text for text in dict.fromkeys(texts) if text not in known]
    if not found:
        raise InputError(
            "no text is left",
            expected="texts of whole words, not all of which the set has",
            remedy="name other --pairs or --corpora, or raise --longest",
        )
    return found


def evaluated(folder: Path) -> list[str]:
    """The texts of a set's development and test pairs."""
    return [text for split in ("dev", "test") for text in split_texts(folder, split)]


def split_texts(folder: Path, split: str) -> list[str]:
    """The texts of a set's pairs, each once."""
    return texts_of(list(read_pairs(split_file(folder, split))))


def sentences_of(corpus: Path, longest: int) -> list[str]:
    """The sentences of all passages that have between `SHORTEST` and `longest` words, each once, sorted."""
    sentences = {
        sentence for passage in corpus_passages(corpus) for sentence in _SENTENCE_END.split(passage.text)
    }
    return sorted(sentence for sentence in sentences if SHORTEST <= len(sentence.split()) <= longest)


def near_words(texts: Iterable[str], backbone: str) -> dict[str, list[str]]:
    """For each common word of the texts, in lower case, the common words that are nearest to it."""
    counts = Counter(word for text in texts for word in re.findall(r"\w+", text.lower()))
    words = sorted(word for word, count in counts.items() if count >= COMMON and word.isalpha())
    with quiet():
        vectors = encode(load_encoder(locate_backbone(backbone)), words)
    near = {}
    for row, word in enumerate(words):
        similarity = vectors @ vectors[row]
        similarity[row] = -np.inf
        near[word] = [words[other] for other in np.argsort(-similarity, kind="stable")[:NEAREST]]
    return near


def varied(text: str, near: dict[str, Sequence[str]], count: int, rng: random.Random) -> list[str]:
    """As many variants of a text; none of one that has fewer than three words to change."""
    parts = re.findall(r"\w+|\W+", text)
    places = [place for place, part in enumerate(parts) if part.lower() in near]
    if len(places) < 3:
        return []
    variants = []
    for _ in range(count):
        changed = list(parts)
        for place in rng.sample(places, 1 if rng.random() < ONE_CHANGE else 2):
            word = parts[place]
            if rng.random() < LEFT_OUT:
                changed[place] = ""
                continue
            choice = near[word.lower()]
            new = choice[min(int(rng.expovariate(STEEPNESS)), len(choice) - 1)]
            changed[place] = new.capitalize() if word[0].isupper() else new
        variants.append(" ".join("".join(changed).split()))
    return variants


if __name__ == "__main__":
    main()
