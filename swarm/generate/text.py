"""Token ids to text as they come: never half a character, never part of a stop string."""

import copy
from collections.abc import Sequence
from typing import Protocol


class Tokenizer(Protocol):
    def decode(self, token_ids: list[int], skip_special_tokens: bool = False) -> str: ...


class NoText:
    """The tokenizer of a model that comes without one: of whatever tokens, there is no text."""

    def decode(self, token_ids: list[int], skip_special_tokens: bool = False) -> str:
        return ""


class TextStream:
    """Turns a growing list of tokens into pieces of text, and notices stop strings."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()):
        self._tokenizer, self._stop = tokenizer, tuple(stop)
        self._tokens: list[int] = []
        self._start = 0  # tokens before this one are text already
        self._held = ""  # text that might be the beginning of a stop string
        self.text = ""  # everything released so far
        self.stopped = False  # a stop string was met

    def copy(self) -> "TextStream":
        """One that goes on from here by itself."""
        twin = copy.copy(self)
        twin._tokens = list(self._tokens)
        return twin

    def push(self, token: int) -> str:
        """New text after `token`, perhaps empty."""
        self._tokens.append(token)
        if self.stopped:
            return ""
        return self._release(self._new_text(final=False), final=False)

    def finish(self) -> str:
        """What was still held back."""
        return "" if self.stopped else self._release(self._new_text(final=True), final=True)

    def _new_text(self, final: bool) -> str:
        """Text of the tokens since the last release. One token of context is decoded with them, because tokenisers
        treat the first token of a text differently (leading spaces)."""
        context = max(self._start - 1, 0)
        before = self._tokenizer.decode(self._tokens[context : self._start], skip_special_tokens=True)
        after = self._tokenizer.decode(self._tokens[context:], skip_special_tokens=True)
        if after.endswith("\ufffd") and not final:  # bytes of a character whose rest is still to come
            return ""
        self._start = len(self._tokens)
        return after[len(before) :]

    def _release(self, new: str, final: bool) -> str:
        text = self._without_stops(self._held + new, final) if self._stop else new
        self.text += text
        return text

    def _without_stops(self, text: str, final: bool) -> str:
        """What of `text` comes before a stop string, and before what might become one, which is held back."""
        found = [index for index in (text.find(stop) for stop in self._stop) if index >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        end = len(text) - (0 if final else self._possible_beginning(text))
        self._held = text[end:]
        return text[:end]

    def _possible_beginning(self, text: str) -> int:
        """The length of the longest end of `text` with which a stop string begins."""
        longest = max((len(stop) for stop in self._stop), default=0)
        for length in range(min(longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop):
                return length
        return 0
