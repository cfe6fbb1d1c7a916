"""The model's turn: what is sent, how the answer streams, and what is said where it ends early."""

from dataclasses import dataclass, replace

from swarm.cli.chat.conversation import Conversation, shorten
from swarm.cli.chat.interrupts import Interrupts
from swarm.cli.support.streamed import Streamed
from swarm.client.client import Client
from swarm.errors import InvalidRequest, SwarmError
from swarm.generate.options import GenerateKeywords
from swarm.results import Generation
from swarm.shown import count

_LEAST_ROOM = 4  # of the context, an answer has at least one such part


@dataclass(frozen=True)
class Limits:
    """In tokens."""

    answer: int
    context: int  # of conversation and answer together

    @property
    def sent(self) -> int:
        """The most that leaves room for an answer."""
        return self.context - min(self.answer, max(self.context // _LEAST_ROOM, 1))


class Answering:
    """Answers the last question of a conversation, or goes on with an answer."""

    def __init__(
        self, client: Client, options: GenerateKeywords, limits: Limits, interrupts: Interrupts, shown: Streamed
    ):
        """options: of `stream`; how long each answer may be is what there is room for."""
        self._client, self._options, self._limits = client, options, limits
        self._interrupts, self._shown = interrupts, shown
        self.last: Generation | None = None
        self.failed = False  # the last answer, or one before that was not tried again

    def check(self, conversation: Conversation, question: str) -> None:
        """Raises InvalidRequest for a question that can never be answered: no text, or longer than the context."""
        alone = Conversation(conversation.system)
        alone.ask(question)
        if (tokens := self._count(alone)) > self._limits.sent:
            raise InvalidRequest(
                f"{tokens} tokens are more than there is room for beside an answer: the context has "
                f"{self._limits.context}; shorten the message"
            )

    def answer(self, conversation: Conversation, again: bool = False) -> None:
        """What there is of an answer is in the conversation afterwards, whatever happened. again: in the place of the
        last answer, which stays until there is text of the new one."""
        self._shown.begin()
        before = conversation.take_back_answer() if again else None
        pieces: list[str] = []
        stopped, error = "failed", None
        try:
            with self._interrupts.stop() as interrupted:
                stopped = self._stream(conversation, pieces)
            if interrupted.by_user:
                stopped = "interrupted"
        except SwarmError as failure:
            error = failure
        finally:
            kept = None if "".join(pieces) else before
            conversation.answer("".join(pieces), stopped) if kept is None else conversation.turns.append(kept)
        self._shown.end_line()
        self.failed = error is not None
        if stopped:
            self._shown.note(_reason(conversation, stopped, error, self.last))
        if kept:
            self._shown.note("(the answer that was there stays)")

    def _stream(self, conversation: Conversation, pieces: list[str]) -> str:
        """Why the answer is not whole; empty where it is. Raises SwarmError."""
        self._make_room(conversation)
        ids = self._encode(conversation)
        options = self._options.copy()
        options["max_new_tokens"] = min(self._limits.answer, self._limits.context - len(ids))
        stream = self._client.stream(ids, **options)
        self.last = stream.generation
        try:
            for piece in stream:
                pieces.append(str(piece))
                self._shown.write(str(piece))
        finally:
            stream.close()
        return "length" if stream.generation.finish_reason == "length" else ""

    def _make_room(self, conversation: Conversation) -> None:
        """Raises InvalidRequest where there is none to be made."""
        before = conversation.forgotten
        if not shorten(conversation, self._count, self._limits.sent):
            raise InvalidRequest(
                f"the context of {self._limits.context} tokens is full with the last exchange alone; /clear begins anew"
            )
        if (dropped := conversation.forgotten) > before:
            self._shown.note(
                f"(the context of {self._limits.context} tokens is full: the model does not see the "
                f"first {count(dropped, 'message')} any more; /save keeps all)"
            )

    def _count(self, conversation: Conversation) -> int:
        return len(self._encode(conversation))

    def _encode(self, conversation: Conversation) -> list[int]:
        """Token ids: the conversation in the model's template, and what there is of an answer. Raises
        InvalidRequest."""
        if not conversation.is_partial:
            return self._client.encode(conversation.messages())
        *turns, partial = conversation.turns
        question = self._client.encode(replace(conversation, turns=turns).messages())
        assert self._client.tokenizer  # it has a chat template
        begun: list[int] = self._client.tokenizer(partial.content, add_special_tokens=False)["input_ids"]
        return [*question, *begun]


def _reason(conversation: Conversation, stopped: str, error: SwarmError | None, last: Generation | None) -> str:
    """A line on an answer that is not whole."""
    has_text = conversation.is_partial
    ways = "/continue goes on with it, /retry begins it anew" if has_text else "/retry tries it again"
    if error:
        return f"error: {error} ({ways})"
    if stopped == "length":
        return f"(stopped after {count(len(last.token_ids) if last else 0, 'token')}, its limit: /continue goes on)"
    return f"(stopped: {ways})" if has_text else f"(stopped before it began: {ways})"
