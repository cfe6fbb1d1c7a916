"""The tokenizer that does without transformers gives what transformers does."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors
from transformers import PreTrainedTokenizerFast

from swarm.model.light_tokenizer import LightTokenizer

NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")
# Of models: as most files have it; with tokens named that the file calls ordinary words; with a beginning; with none.
SPECIAL = {
    "the demo model's": ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_end|>"),
    "words": ("hello", "Ġworld", None, "the"),
    "only an end": (None, "<|im_end|>", None, None),
    "none": (None, None, None, None),
}
PIECES = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "hello", " world", "the", "the sea", "\n\n", "1234", "é", "😀"]
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=12).map("".join)


@pytest.fixture(scope="module")
def pairs(demo_tokenizer) -> list[tuple[LightTokenizer, PreTrainedTokenizerFast]]:
    """Ours and transformers', of the same parts."""
    made = []
    for tokens in SPECIAL.values():
        for has_beginning in {False, tokens[0] is not None}:
            parts = copy.deepcopy(demo_tokenizer.full.backend_tokenizer)
            if has_beginning:
                beginning = (tokens[0], parts.token_to_id(tokens[0]))
                parts.post_processor = processors.TemplateProcessing(
                    single=f"{tokens[0]} $A", pair=f"{tokens[0]} $A {tokens[0]} $B", special_tokens=[beginning]
                )
            made.append((_ours(parts, tokens), _theirs(parts, tokens)))
    return made


def _ours(parts: Tokenizer, tokens: tuple[str | None, ...]) -> LightTokenizer:
    return LightTokenizer(copy.deepcopy(parts), dict(zip(NAMES, tokens, strict=True)), None)


def _theirs(parts: Tokenizer, tokens: tuple[str | None, ...]) -> PreTrainedTokenizerFast:
    special = dict(zip(NAMES, tokens, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=parts, clean_up_tokenization_spaces=False, **special)


@given(text=TEXTS, add_special_tokens=st.booleans())
def test_ids_of_any_text_are_those_of_transformers(pairs, text, add_special_tokens):
    for ours, theirs in pairs:
        ids = ours.encode(text, add_special_tokens=add_special_tokens)
        assert ids == theirs.encode(text, add_special_tokens=add_special_tokens)
        assert ids == theirs(text, add_special_tokens=add_special_tokens)["input_ids"]


@given(ids=st.lists(st.one_of(st.integers(0, 20), st.integers(0, 49_151)), max_size=16), skip=st.booleans())
def test_text_of_any_ids_is_that_of_transformers(pairs, ids, skip):
    for ours, theirs in pairs:
        assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)


def test_whatever_else_is_asked_of_it_transformers_answers(demo_tokenizer, tmp_path):
    assert demo_tokenizer("hello", return_tensors="pt").input_ids.tolist() == [demo_tokenizer.encode("hello")]
    assert demo_tokenizer.encode("hello", "world") == [*demo_tokenizer.encode("hello"), *demo_tokenizer.encode("world")]
    assert demo_tokenizer.decode(np.array([28120, 905])) == "hello world"
    assert len(demo_tokenizer) == len(demo_tokenizer.full)
    demo_tokenizer.save_pretrained(tmp_path)
    saved = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert saved.encode("The sea is") == demo_tokenizer.encode("The sea is")
    assert saved.chat_template == demo_tokenizer.chat_template


def test_it_can_be_copied_and_sent_to_another_process(demo_tokenizer):
    for twin in (copy.copy(demo_tokenizer), pickle.loads(pickle.dumps(demo_tokenizer))):
        assert twin.encode("hello world") == [28120, 905]


def test_text_goes_to_ids_and_back_without_transformers():
    program = (
        "import sys; from swarm.model import open_checkpoint; tokenizer = open_checkpoint('demo').load_tokenizer();"
        "print(tokenizer.decode(tokenizer.encode('hello world')), 'transformers' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "hello world False\n"
