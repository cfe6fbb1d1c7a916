"""Every kind of prompt that is taken, and one line for every kind that is not."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from swarm.client.prompts import Prompts
from swarm.errors import InvalidRequest
from swarm.model.ends import ModelEnds

TEXT = "The capital of France is"
HI = {"role": "user", "content": "Hi"}


@pytest.fixture
def ends(demo_checkpoint):
    return SimpleNamespace(check_ids=partial(ModelEnds.check_ids, SimpleNamespace(config=demo_checkpoint.config)))


@pytest.fixture
def prompts(demo_tokenizer, ends) -> Prompts:
    return Prompts(demo_tokenizer, ends)


@pytest.mark.parametrize(
    "as_prompt",
    [
        tuple,
        np.array,
        torch.tensor,
        lambda ids: np.array(ids, dtype=np.uint16),
        lambda ids: np.array([ids]),
        lambda ids: torch.tensor([ids], dtype=torch.int32),
        lambda ids: list(np.array(ids)),
        lambda ids: list(torch.tensor(ids)),
        lambda ids: {"input_ids": ids},
        lambda ids: {"input_ids": torch.tensor([ids])},
        lambda ids: {"input_ids": [0, *ids], "attention_mask": [0] + [1] * len(ids)},
    ],
)
def test_token_ids_are_taken_as_lists_arrays_and_tensors(prompts, demo_tokenizer, as_prompt):
    ids = demo_tokenizer(TEXT)["input_ids"]
    prompt = as_prompt(ids)
    assert prompts.encode(prompt) == prompts.encode([prompt]) == ids
    assert all(type(token) is int for token in prompts.encode(prompt))
    assert prompts.encode_all([prompt, TEXT]) == ([ids, ids], True)


def test_a_tokenizers_output_is_taken_for_one_text_and_for_several(prompts, demo_tokenizer):
    one, other = demo_tokenizer(TEXT)["input_ids"], demo_tokenizer("Hi")["input_ids"]
    assert prompts.encode_all(demo_tokenizer(TEXT, return_tensors="pt")) == ([one], False)
    assert prompts.encode_all(demo_tokenizer([TEXT, "Hi"])) == ([one, other], True)
    padded = demo_tokenizer([TEXT, "Hi"], padding=True, return_tensors="np")
    assert prompts.encode_all(padded) == ([one, other], True)


def test_a_list_is_of_prompts_where_its_first_item_is_one(prompts):
    assert prompts.encode_all([]) == ([], True)
    assert prompts.encode_all([TEXT, [1, 2], [HI], np.array([3])])[1]
    assert prompts.encode_all([1, 2]) == ([[1, 2]], False)
    assert not prompts.encode_all([HI, HI])[1]


NO_PROMPTS = [
    (b"abc", r"b'abc' \(bytes\), which .decode\(\) makes text of"),
    (bytearray(b"abc"), r"\(bytearray\), which .decode\(\) makes text of"),
    (memoryview(b"abc"), r"\(memoryview\)"),
    (None, "the prompt is None; a prompt is text, token ids"),
    (True, "the prompt is True; a prompt is text"),
    (7, r"the prompt is 7 \(int\)"),
    (1.5, r"the prompt is 1.5 \(float\)"),
    (np.float32(1.5), r"\(float32\)"),
    (object(), r"\(object\)"),
    ({1, 2}, r"\{1, 2\} \(set\), which list\(...\) makes a list of"),
    ((text for text in ["a"]), r"\(generator\), which list\(...\) makes a list of"),
    (np.array(["a", "b"]), r"token ids are whole numbers; texts are given as a list"),
    ([1.9, 2.2], r"token 0 of the prompt is 1.9 \(float\): token ids are whole numbers"),
    ([1, 2.0], r"token 1 of the prompt is 2.0 \(float\)"),
    ([True, False], "token 0 of the prompt is True"),
    ([None], "token 0 of the prompt is None"),
    ([1, "a"], r"token 1 of the prompt is 'a' \(str\)"),
    (["a", 1], r"prompt 1 is 1 \(int\); a prompt is text"),
    (["a", None], "prompt 1 is None"),
    ([[[1]]], r"token 0 of prompt 0 is \[1\] \(list\): prompts are nested too deep"),
    ([["a"]], r"token 0 of prompt 0 is 'a' \(str\)"),
    (np.array([1.0, 2.0]), r"token 0 of the prompt is 1.0 \(float\)"),
    (torch.tensor([1.5]), r"token 0 of the prompt is 1.5 \(float\)"),
    (np.array([True]), "token 0 of the prompt is True"),
    (np.array(3), r"the prompt is array\(3\) \(ndarray\)"),
    (torch.zeros(1, 2, 2, dtype=torch.long), "an array of 3 dimensions"),
    (torch.ones(2, 2, dtype=torch.long), "an array of 2 rows, which may be padded"),
    ({}, r"\{\} \(dict\); a prompt is text"),
    (HI, "a single message; a conversation is a list of them"),
    ({"input_ids": None}, "input_ids of the prompt is None"),
    ({"input_ids": [0.5]}, r"token 0 of input_ids of the prompt is 0.5 \(float\)"),
    ({"input_ids": [1, 2], "attention_mask": [1]}, "different shapes"),
    (["a", {"input_ids": [[1], [2]]}], "prompt 1 is a tokenizer's output for 2 texts"),
    ([{"role": "user"}], "message 0 of the prompt has no content"),
    ([HI, {"content": "x"}], "message 1 of the prompt has no role"),
    ([HI, "x"], r"message 1 of the prompt is 'x' \(str\)"),
    ([{"role": 5, "content": "x"}], r"the role of message 0 of the prompt is 5 \(int\)"),
    ([{"role": "", "content": "x"}], "the role of message 0 of the prompt is empty"),
    ([{"role": "user", "content": None}], "the content of message 0 of the prompt is None"),
    ([["a"], [HI, 3]], "token 0 of prompt 0"),
    ("", "the prompt is empty"),
    ([[]], "the prompt is empty"),
    (np.array([], dtype=int), "the prompt is empty"),
    ("caf\udce9", "the prompt is no text at character 3"),
    ([49152], "token id 49152 is outside the vocabulary"),
    ([-1], "token id -1 is outside the vocabulary"),
    ([2**70], "outside the vocabulary"),
]


@pytest.mark.parametrize(("prompt", "complaint"), NO_PROMPTS, ids=[f"{number}" for number in range(len(NO_PROMPTS))])
def test_what_is_no_prompt_is_refused_in_one_line_that_says_what_it_is(prompts, prompt, complaint):
    with pytest.raises(InvalidRequest, match=complaint) as error:
        prompts.encode_all(prompt)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 330


def test_one_prompt_is_not_several(prompts):
    for prompt, complaint in ((["a", "b"], "there are 2 prompts; this takes one"), ([], "the prompt is empty")):
        with pytest.raises(InvalidRequest, match=complaint):
            prompts.encode(prompt)


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('Conversation roles must alternate\\nuser/assistant') }}",
        "{{ messages[0].content.no.such }}",
        "{{ 'a' + 1 }}",
        "{{ 1 // 0 }}",
        "{% if %}",
    ],
)
def test_a_chat_template_that_fails_is_one_line(demo_tokenizer, ends, template):
    class Tokenizer:
        chat_template = template

        def apply_chat_template(self, *arguments, **options):
            return demo_tokenizer.apply_chat_template(*arguments, **options, chat_template=template)

    with pytest.raises(InvalidRequest, match="the model's chat template does not take this conversation: ") as error:
        Prompts(Tokenizer(), ends).encode([{"role": "alien", "content": "x"}])
    assert "\n" not in str(error.value)


def test_without_a_tokenizer_token_ids_are_taken_and_text_is_not(ends):
    prompts = Prompts(None, ends)
    assert prompts.encode([1, 2]) == [1, 2]
    for prompt in ("x", [HI]):
        with pytest.raises(InvalidRequest, match=r"this model comes without a tokenizer, and .* needs one; give token"):
            prompts.encode(prompt)


def test_a_long_text_brings_no_warning_of_the_tokenizers_own(prompts, caplog, capfd):
    assert len(prompts.encode("word " * 9000)) > 8192
    assert not caplog.records
    assert capfd.readouterr().err == ""


def test_what_is_longer_than_the_context_is_refused_before_a_list_is_made_of_it(demo_tokenizer, ends):
    prompts = Prompts(demo_tokenizer, ends, context=8)
    assert prompts.encode(range(8)) == list(range(8))
    for endless in (range(10**9), range(10**30), {"input_ids": range(10**12)}):
        for take in (prompts.encode, prompts.encode_all):
            with pytest.raises(InvalidRequest, match="more tokens than this model's context of 8"):
                take(endless)
        with pytest.raises(InvalidRequest, match="prompt 1: the prompt has more tokens"):
            prompts.encode_all(["text", endless])


def test_a_token_of_thousands_of_digits_is_one_line(prompts):
    with pytest.raises(InvalidRequest, match="token id a number of 5,000 digits is outside the vocabulary"):
        prompts.encode([10**5000])
