"""A chat's conversation: what is sent, kept, left out, saved and loaded."""

import json

import pytest

from swarm.cli.chat.conversation import Conversation, Turn, load, save, shorten
from swarm.errors import InvalidRequest


def said(*contents: str) -> Conversation:
    """User and assistant in turn."""
    conversation = Conversation()
    for place, content in enumerate(contents):
        conversation.answer(content) if place % 2 else conversation.ask(content)
    return conversation


def words(conversation: Conversation) -> int:
    return sum(len(message["content"].split()) for message in conversation.messages())


def test_a_question_without_an_answer_becomes_part_of_the_next_one():
    conversation = said("first")
    conversation.answer("", "failed")
    conversation.ask("second")
    assert conversation.messages() == [{"role": "user", "content": "first\n\nsecond"}]


def test_a_partial_answer_goes_on_and_is_whole_in_the_end():
    conversation = said("question")
    conversation.answer("Once upon", "interrupted")
    assert conversation.is_partial
    conversation.answer(" a time", "length")
    conversation.answer(".")
    assert conversation.turns == [Turn("user", "question"), Turn("assistant", "Once upon a time.")]
    assert not conversation.is_partial


def test_another_try_takes_the_answer_back_and_keeps_the_question():
    conversation = said("question", "answer")
    assert conversation.take_back_answer()
    assert conversation.turns == [Turn("user", "question")]
    assert conversation.take_back_answer()
    assert not Conversation().take_back_answer()


def test_the_oldest_exchanges_are_left_out_until_the_rest_fits():
    conversation = said("a a a", "b b b", "c c", "d d", "e")
    conversation.system = "s"
    assert shorten(conversation, words, 6)
    assert [message["content"] for message in conversation.messages()] == ["s", "c c", "d d", "e"]
    assert len(conversation.turns) == 5
    assert shorten(conversation, words, 3)
    assert [message["content"] for message in conversation.messages()] == ["s", "e"]


def test_what_cannot_be_made_to_fit_is_left_as_it_is():
    conversation = said("a", "b", "c c c c")
    assert not shorten(conversation, words, 3)
    assert conversation.forgotten == 0


def test_what_is_saved_is_loaded(tmp_path):
    conversation = said("Grüße", "answer")
    conversation.system = "be brief"
    conversation.ask("again")
    conversation.answer("well", "interrupted")
    file = tmp_path / "new" / "talk.json"
    save(conversation, "demo", file, replaces=False)
    assert load(file) == conversation
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(InvalidRequest, match="is there already"):
        save(conversation, "demo", file, replaces=False)
    save(said("other"), "demo", file, replaces=True)
    assert load(file) == said("other")


def test_a_list_of_messages_of_others_is_loaded(tmp_path):
    (tmp_path / "talk.json").write_text('[{"role": "user", "content": "hello", "name": "x"}]')
    assert load(tmp_path / "talk.json") == said("hello")


@pytest.mark.parametrize(
    "content",
    [
        "", "hello", "{}", "17", '{"messages": 3}', '[{"role": "user"}]', '[{"role": "tool", "content": "x"}]',
        '[{"role": "user", "content": ["x"]}]', "[" * 100_000, '[{"role": "assistant", "content": "x"}]',
        '[{"role": "user", "content": "x"}, {"role": "user", "content": "x"}]',
        '[{"role": "user", "content": "x"}, {"role": "system", "content": "x"}]',
    ],
)  # fmt: skip
def test_a_file_that_is_no_conversation_is_refused_in_one_line(content, tmp_path):
    (tmp_path / "talk.json").write_text(content)
    with pytest.raises(InvalidRequest) as refused:
        load(tmp_path / "talk.json")
    assert "talk.json" in str(refused.value) and "\n" not in str(refused.value)
    (tmp_path / "talk.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidRequest):
        load(tmp_path / "talk.json")


def test_marks_that_nobody_knows_are_left_aside(tmp_path):
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "stopped": {"a": 1}}]
    (tmp_path / "talk.json").write_text(json.dumps(turns))
    assert not load(tmp_path / "talk.json").is_partial
