from __future__ import annotations

import subprocess
import sys

import pytest

from limbeck.errors import InputError
from limbeck.teachers.llm import PROMPTS, Prompt


def test_a_template_is_split_at_its_placeholders():
    prompt = Prompt('{"q": {query}} then {passage}?', ("yes",), ("no",))
    assert prompt.parts == ('{"q": ', "} then ", "?")


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{query} alone?", r"\{passage\} 0 times"),
        ("{passage} alone?", r"\{query\} 0 times"),
        ("{query} {passage} {query}?", r"\{query\} 2 times"),
        ("{passage} before {query}?", r"\{passage\} before \{query\}"),
    ],
)
def test_what_is_no_template(template, problem):
    with pytest.raises(InputError, match=problem):
        Prompt(template, ("yes",), ("no",))


@pytest.mark.parametrize(
    ("yes", "no", "problem"),
    [
        ((), ("no",), "no word for 'yes'"),
        (("yes",), (" ",), "'no'"),
        (("Yes",), ("no", "yes "), "both yes and no"),
    ],
)
def test_what_are_no_answers(yes, no, problem):
    with pytest.raises(InputError, match=problem):
        Prompt("{query} {passage}?", yes, no)


def test_the_built_in_prompts_are_of_two_tasks_and_languages():
    assert set(PROMPTS) == {
        (task, language) for task in ("asymmetric", "symmetric") for language in ("en", "zh")
    }
    assert PROMPTS["symmetric", "zh"].yes == ("是",)
    assert PROMPTS["asymmetric", "zh"].no == ("不能",)


def test_prompts_need_no_torch():
    script = "import sys; from limbeck.teachers.llm import PROMPTS; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
