"""What is looked at once the data are read: all of them that would end a run, or spoil it, after hours.

Before anything is done, `preflight` looks at the recipe alone. Each function here takes a run whose data are
read, and raises an InputError or leaves a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from limbeck.data import Passage
from limbeck.data.formats.trec import read_run
from limbeck.errors import InputError
from limbeck.pipeline.candidates import start_backbone
from limbeck.pipeline.identifiers import generative_student, pseudo_query_files
from limbeck.pipeline.run import Run
from limbeck.recipes import RunMember, TitleRecipe
from limbeck.students.generative.identifiers import TitleView
from limbeck.students.generative.pseudo_queries import PseudoQueries
from limbeck.students.generative.vocabulary import Vocabulary

#: Passages that are looked at, spread over the corpus.
SAMPLE = 1000
#: Shares of a corpus that are worth a note, and those that leave nothing to learn from.
FEW_TITLES, SOME_UNKNOWN, MOSTLY_UNKNOWN = 0.5, 0.02, 0.5


def inspect_teacher_runs(run: Run) -> None:
    """The run files of the teacher can be read, and speak of queries and passages that there are.

    Raises:
        InputError: as `read_run`, with file and line.
    """
    data = run.dataset
    for member in run.recipe.teacher.members:
        if not isinstance(member, RunMember):
            continue
        for split, path in (("train", member.train), ("dev", member.dev), ("test", member.test)):
            if path is not None:
                passages = data.training_view if split == "train" else data.passages
                read_run(path, queries=data.queries[split], passages=passages)


def inspect_identifiers(run: Run) -> None:
    """The passages have identifiers that the student can generate.

    Raises:
        InputError: a file of pseudo-queries has an error, the tokenizer does not know the corpus's script,
            or titles are all that is generated and there are none.
    """
    for path in pseudo_query_files(run.recipe):
        PseudoQueries.read(path, passages=run.dataset.passages)
    passages = _sample(run)
    vocabulary = Vocabulary.load(generative_student(run.recipe).model or run.recipe.backbone)
    _inspect_script(run, passages, vocabulary)
    for view in generative_student(run.recipe).views:
        if isinstance(view, TitleRecipe):
            _inspect_titles(run, passages, vocabulary, view.max_length)


def inspect_script(run: Run) -> None:
    """Tells of a corpus that the backbone of a dense student can hardly read."""
    passages = _sample(run)
    note_unknown_tokens(run, {"the corpus": [passage.content for passage in passages]})


def note_unknown_tokens(run: Run, samples: Mapping[str, Sequence[str]]) -> None:
    """Leaves a note for each sample whose script the backbone's tokenizer does not know.

    Args:
        run: whose backbone it is.
        samples: what the texts are of, for the note, and some of them.
    """
    tokenizer = start_backbone(run.recipe, "cpu").tokenizer
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is None:
        return
    for what, texts in samples.items():
        share = _share(tokenizer(list(texts), add_special_tokens=False)["input_ids"], unknown)
        if share > SOME_UNKNOWN:
            run.progress.note(
                f"{share:.0%} of the tokens of {what} are unknown to the tokenizer of "
                f"'{run.recipe.backbone}': a backbone for their language and script reads them all"
            )


def _sample(run: Run) -> list[Passage]:
    count = len(run.dataset.passages)
    rows = np.unique(np.linspace(0, count - 1, min(SAMPLE, count)).astype(np.int64))
    return list(run.dataset.passages.take(rows))


def _share(rows: Sequence[Sequence[int]], token: int) -> float:
    return sum(row.count(token) for row in rows) / max(1, sum(map(len, rows)))


def _inspect_script(run: Run, passages: Sequence[Passage], vocabulary: Vocabulary) -> None:
    if vocabulary.unknown is None:
        return
    share = _share(vocabulary.encode([passage.content for passage in passages]), vocabulary.unknown)
    if share > MOSTLY_UNKNOWN:
        model = generative_student(run.recipe).model or run.recipe.backbone
        raise InputError(
            f"{share:.0%} of the corpus's tokens are unknown to the tokenizer of '{model}', and no "
            "identifier can be made of them",
            expected="a model for the language and script of the corpus",
            remedy="set student.model, or the backbone, to a multilingual one such as google/mt5-small",
        )
    if share > SOME_UNKNOWN:
        run.progress.note(f"{share:.0%} of the corpus's tokens are unknown to the student's tokenizer")


def _inspect_titles(run: Run, passages: Sequence[Passage], vocabulary: Vocabulary, max_length: int) -> None:
    texts = [text for passage in passages for text in TitleView().texts(passage)]
    usable = sum(0 < len(row) <= max_length for row in vocabulary.encode(texts))
    share = usable / len(passages)
    if share == 0 and len(generative_student(run.recipe).views) == 1:
        raise InputError(
            f"titles are all that the student generates, and of {len(passages):,} passages that were looked "
            f"at {len(texts):,} have one, none of {max_length} tokens or less",
            remedy="add the view 'body' to student.views, or raise the max_length of the view 'title'",
        )
    if share < FEW_TITLES:
        run.progress.note(
            f"{share:.0%} of the passages have a title of {max_length} tokens or less: by the view 'title' "
            "the others cannot be found"
        )
