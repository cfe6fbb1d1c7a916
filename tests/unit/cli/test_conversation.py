"""A chat's conversation: what is sent, kept, left out, saved and loaded."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from swarm.cli.chat import history
from swarm.cli.chat.chat import Chat
from swarm.cli.chat.commands import Commands
from swarm.cli.chat.conversation import Conversation, Turn, load, save, shorten
from swarm.cli.chat.history import FileHistory
from swarm.cli.chat.interrupts import Interrupts
from swarm.cli.support.streamed import Streamed
from swarm.errors import InvalidRequest, UnusableFile


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
    conversation.take_back_answer()
    assert conversation.turns == [Turn("user", "question")]
    conversation.take_back_answer()
    assert Conversation().take_back_answer() is None


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


@pytest.mark.parametrize("line", ["/save ~nobody-of-that-name/x", "/save a\0b", "/save a\ud800", "/system \udcff"])
def test_what_cannot_be_done_is_one_line_and_the_chat_goes_on(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    conversation, shown, heard = said("question", "answer"), Streamed(), iter([line, "/save it", "/clear"])
    commands = Commands(conversation, None, shown, "demo", None)
    lines = SimpleNamespace(read=lambda: next(heard, None))
    assert not Chat(lines, conversation, SimpleNamespace(failed=False), commands, Interrupts(), shown).run()
    assert capsys.readouterr().err.count("error: ") == 1
    assert not conversation.turns and load(tmp_path / "it").turns


def test_what_is_no_text_or_no_file_is_not_loaded(tmp_path):
    file = tmp_path / "saved"
    file.write_text('[{"role": "user", "content": "\\ud800"}]')
    with pytest.raises(UnusableFile, match="message 0, has half characters"):
        load(file)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UnusableFile, match="no regular file"):
            load(path)


def test_a_history_that_is_a_pipe_is_none_and_of_a_huge_one_the_end_is_read(tmp_path, caplog, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        kept = FileHistory(path)
        assert list(kept.load_history_strings()) == []
        kept.store_string("said")
        assert "what is typed is not kept" in caplog.messages[-1]
    monkeypatch.setattr(history, "_READ_BYTES", 12)
    (tmp_path / "file").write_text('"a long one"\n"b"\n"c"\n')
    assert list(FileHistory(tmp_path / "file").load_history_strings()) == ["c", "b"]
