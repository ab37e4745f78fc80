"""llama.cpp's server as a teacher and as a writer, of a tiny model, in a process of its own."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from transformers import AutoTokenizer

from limbeck.data import Passage
from limbeck.errors import InputError
from limbeck.query_generation.server import AnswerLog, ServerWriter
from limbeck.servers import Endpoint, ServerClient
from limbeck.teachers import ServerTeacher
from limbeck.teachers.llm import LLMTeacher, Prompt

PROMPT = Prompt("Which? {query}\nPassage: {passage}\nAnswer:", ("yes",), ("no",))
QUERIES = ["where is paris", "cat", "a king and a queen", "", "国王 is not a “queen”\n"]
PASSAGES = ["paris is the capital of france", "cat", "", "<|start|> is text, too"]
PAIRS = [(query, passage) for query in QUERIES for passage in PASSAGES]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_its_scores_are_those_of_the_llm_teacher(start_llama_cpp, llama_cpp_model, api):
    # Special tokens in a text are read as text by the teacher, and by a server as it pleases.
    pairs = [pair for pair in PAIRS if "<|" not in pair[1]]
    teacher = LLMTeacher(llama_cpp_model, PROMPT, chat="auto" if api == "chat" else "never")
    expected = teacher.score(pairs)
    assert np.ptp(expected) > 0.3
    client = ServerClient(Endpoint(start_llama_cpp().url, "tiny"))
    # It keeps keys and values in 16 bits.
    assert ServerTeacher(client, PROMPT, api=api).score(pairs) == pytest.approx(expected, abs=0.01)
    client.close()


def test_a_server_that_is_killed_half_way(start_llama_cpp):
    dying = start_llama_cpp()
    client = ServerClient(Endpoint(dying.url, "tiny", concurrency=2, retries=0))
    coming = ServerTeacher(client, PROMPT).scores_as_they_come(PAIRS)
    kept = dict(islice(coming, 4))
    dying.process.kill()
    dying.process.wait()
    with pytest.raises(InputError, match=r"cannot be reached.*start the same command again"):
        kept.update(coming)
    client.close()
    assert 4 <= len(kept) < len(PAIRS)
    again = ServerClient(Endpoint(start_llama_cpp().url, "tiny", concurrency=2))
    scores = ServerTeacher(again, PROMPT).score(PAIRS)
    assert scores[list(kept)] == pytest.approx(list(kept.values()), abs=0.01)
    again.close()


def test_it_writes_questions(start_llama_cpp, llama_cpp_model, tmp_path):
    client = ServerClient(Endpoint(start_llama_cpp().url, "tiny", concurrency=2))
    writer = ServerWriter(client, AnswerLog(tmp_path / "answers.jsonl"), "ask {passage}:", max_query_length=5)
    passages = [Passage(f"d{at}", f"the cat number {at} sat by the sea") for at in range(3)]
    written = writer.write(passages, 2)
    tokenizer = AutoTokenizer.from_pretrained(llama_cpp_model)
    assert [len(questions) for questions in written] == [2, 2, 2]
    assert all(1 <= len(tokenizer(one)["input_ids"]) <= 8 for questions in written for one in questions)
    client.close()
