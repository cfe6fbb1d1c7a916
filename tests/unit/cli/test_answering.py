"""The model's turn in a chat, with a client that is not there."""

from contextlib import nullcontext

import pytest

from swarm.cli.chat.answering import Answering, Limits
from swarm.cli.chat.commands import Commands
from swarm.cli.chat.conversation import Conversation
from swarm.cli.chat.interrupts import Interrupts
from swarm.cli.support.streamed import Streamed
from swarm.errors import InvalidRequest, PeerBusy
from swarm.results import Generation


class Client:
    """A token is a word. answers: what comes next: pieces, and an error or how it finishes."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def encode(self, messages):
        return " ".join(message["content"] for message in messages).split()

    def tokenizer(self, text, add_special_tokens):
        return {"input_ids": text.split()}

    def stream(self, ids, **options):
        self.asked.append((" ".join(ids), options["max_new_tokens"]))
        return Pieces(*self.answers.pop(0))


class Pieces:
    def __init__(self, pieces, end):
        self._pieces, self._end = iter(pieces), end
        self.generation = Generation([], token_ids=list(range(len(pieces))))

    def __iter__(self):
        return self

    def __next__(self):
        piece = next(self._pieces, None)
        if piece is not None:
            return piece
        if isinstance(self._end, BaseException):
            raise self._end
        self.generation.finish_reason = self._end
        raise StopIteration

    def close(self):
        pass


@pytest.fixture
def chat():
    def make(client, answer=8, context=20):
        conversation, shown = Conversation(), Streamed()
        answering = Answering(client, {}, Limits(answer, context), Interrupts(), shown)
        commands = Commands(conversation, answering, shown, "demo", None)

        def say(line):
            if line.startswith("/"):
                return commands.carry_out(line)
            answering.check(conversation, line)
            conversation.ask(line)
            answering.answer(conversation)

        return say, conversation

    return make


def test_an_answer_that_reached_its_limit_says_so_and_goes_on(chat, capsys):
    client = Client((["one", " two"], "length"), ([" three"], "eos"))
    say, conversation = chat(client)
    say("count")
    assert "stopped after 2 tokens" in capsys.readouterr().err
    say("/continue")
    assert client.asked == [("count", 8), ("count one two", 8)]
    assert conversation.messages()[-1]["content"] == "one two three"
    assert capsys.readouterr() == (" three\n", "")
    with pytest.raises(InvalidRequest, match="no answer was cut short"):
        say("/continue")


def test_an_answer_that_failed_keeps_the_question_for_another_try(chat, capsys):
    client = Client(([], PeerBusy("all full")), (["half"], PeerBusy("full")), (["whole"], "eos"))
    say, conversation = chat(client)
    say("question")
    assert capsys.readouterr().err == "error: all full (/retry tries it again)\n"
    say("/retry")
    assert conversation.is_partial
    assert "/continue goes on with it, /retry begins it anew" in capsys.readouterr().err
    say("/retry")
    assert [turn.content for turn in conversation.turns] == ["question", "whole"]


@pytest.mark.parametrize("stopped", ["length", "eos"])
@pytest.mark.parametrize("end", [PeerBusy("all full"), KeyboardInterrupt(), OSError(28, "full", "cache"), "eos"])
def test_another_try_takes_nothing_away_before_there_is_text(chat, capsys, stopped, end):
    say, conversation = chat(Client((["one"], stopped), ([], end), (["two"], PeerBusy("full")), (["three"], "eos")))
    say("question")
    before = list(conversation.turns)
    with nullcontext() if not isinstance(end, OSError) else pytest.raises(OSError):
        say("/retry")
        assert "the answer that was there stays" in capsys.readouterr().err
    assert conversation.turns == before
    say("/retry")
    assert [turn.content for turn in conversation.turns] == ["question", "two"] and conversation.is_partial
    say("/retry")
    assert [turn.content for turn in conversation.turns] == ["question", "three"] and not conversation.is_partial


def test_ctrl_c_stops_the_answer_which_stays(chat, capsys):
    say, conversation = chat(Client((["Once", " upon"], KeyboardInterrupt()), (["Again"], "eos")))
    say("tell")
    assert conversation.turns[-1].content == "Once upon" and conversation.turns[-1].stopped == "interrupted"
    say("something else")
    assert [turn.content for turn in conversation.turns][-2:] == ["something else", "Again"]


def test_a_full_context_leaves_the_oldest_out_and_says_so(chat, capsys):
    client = Client(*[(["w "] * 6, "eos")] * 3)
    say, conversation = chat(client, answer=8, context=24)  # 6 of it are kept for an answer
    say("a a a")
    say("b b b")
    assert "context" not in capsys.readouterr().err
    say("c c c")
    assert "does not see the first 2 messages" in capsys.readouterr().err
    assert client.asked[-1] == ("b b b w w w w w w c c c", 8)
    assert len(conversation.turns) == 6


def test_a_message_that_never_fits_is_refused_before_it_is_asked(chat):
    client = Client()
    say, conversation = chat(client, answer=8, context=20)
    with pytest.raises(InvalidRequest, match="17 tokens are more"):
        say("x " * 17)
    assert not client.asked and not conversation.turns


@pytest.mark.parametrize("line", ["/retry", "/continue", "/save", "/bogus", "/", "/usr/bin is a folder"])
def test_a_command_that_makes_no_sense_is_one_line(chat, line):
    say, _ = chat(Client())
    with pytest.raises(InvalidRequest) as refused:
        say(line)
    assert "\n" not in str(refused.value)


def test_the_system_message_is_set_shown_and_taken_away(chat, capsys):
    say, conversation = chat(Client())
    say("/system be brief")
    assert conversation.messages() == [{"role": "system", "content": "be brief"}]
    say("/system")
    assert "be brief" in capsys.readouterr().err
    say("/system -")
    assert conversation.messages() == []
