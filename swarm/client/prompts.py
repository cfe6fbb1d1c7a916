"""Prompts as callers give them -> token ids."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from swarm.errors import InvalidRequest
from swarm.generate.options import Message, Prompt

if TYPE_CHECKING:
    from swarm.model.ends import ModelEnds
    from swarm.model.tokenizer import AnyTokenizer


class Prompts:
    """By one model's tokenizer."""

    def __init__(self, tokenizer: "AnyTokenizer", ends: "ModelEnds"):
        self._tokenizer, self._ends = tokenizer, ends

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of one prompt. Raises InvalidRequest if it is empty, is no text, or holds ids outside the
        vocabulary."""
        if isinstance(prompt, str):
            ids = self._tokenizer.encode(_checked(prompt))
        elif prompt and isinstance(prompt[0], Mapping):
            ids = self._apply_chat_template([message for message in prompt if isinstance(message, Mapping)])
        else:
            ids = [int(token) for token in prompt if not isinstance(token, Mapping)]
        if not ids:
            raise InvalidRequest("the prompt is empty; give at least one token")
        self._ends.check_ids(ids)
        return list(ids)

    def _apply_chat_template(self, messages: Sequence[Message]) -> list[int]:
        if not self._tokenizer.chat_template:
            raise InvalidRequest("this model has no chat template; give the prompt as text")
        conversation = [dict(message) for message in messages]
        text: str = self._tokenizer.apply_chat_template(  # type: ignore[assignment]  # by its arguments
            conversation, tokenize=False, add_generation_prompt=True
        )
        ids: list[int] = self._tokenizer.encode(_checked(text), add_special_tokens=False)
        return ids


def _checked(text: str) -> str:
    """Python makes half characters of bytes that are not UTF-8, and so does JSON. Raises InvalidRequest for them."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"the prompt is no text at character {error.start}: {text[error.start]!r}, as of bytes that are not UTF-8"
        ) from error
    return text
