"""Prompts as callers give them -> token ids.

What is taken, which docs/using.md has as a table:

    str                                          text
    list or tuple of whole numbers               token ids; numpy's whole numbers are some
    array or tensor of whole numbers, [n], [1, n]  token ids
    list of {"role": text, "content": text}      a conversation, put through the model's chat template
    {"input_ids": ...}, as tokenizers return it  token ids; of several texts: that many prompts
    list or tuple of any of these                several prompts; an empty one: none
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeGuard

from swarm import shown
from swarm.errors import InvalidRequest

if TYPE_CHECKING:
    from swarm.model.ends import ModelEnds
    from swarm.model.tokenizer import AnyTokenizer

Single = str | list[int] | list[dict[str, Any]]  # text, token ids, or a conversation

_TAKEN = (
    "text, token ids (a list or an array of whole numbers), a conversation ([{'role': 'user', 'content': '...'}]), "
    "what a tokenizer returns, or a list of these"
)


class Prompts:
    """By one model's tokenizer."""

    def __init__(self, tokenizer: "AnyTokenizer | None", ends: "ModelEnds", context: int = sys.maxsize - 1):
        """tokenizer: None: the model has none, and prompts are token ids. context: tokens that the model takes."""
        self._tokenizer, self._ends, self._context = tokenizer, ends, context

    def encode(self, prompt: object) -> list[int]:
        """Token ids of one prompt. Raises InvalidRequest if it is none, is empty, or holds ids outside the
        vocabulary."""
        self._check_length(prompt)
        found, _ = split(prompt)
        if not found:
            raise _empty()
        if len(found) != 1:
            raise InvalidRequest(f"there are {shown.count(len(found), 'prompt')}; this takes one")
        return self._ids(found[0])

    def encode_all(self, prompt: object) -> tuple[list[list[int]], bool]:
        """Token ids of each prompt in what a caller gave, and whether that was a list of prompts. Raises
        InvalidRequest."""
        if _is_list(prompt) and prompt and _is_prompt(prompt[0]):
            for index, one in enumerate(prompt):
                self._check_length(one, index)
        else:
            self._check_length(prompt)
        found, are_several = split(prompt)
        return [self._ids_of(one, index if are_several else None) for index, one in enumerate(found)], are_several

    def _check_length(self, prompt: Any, index: int | None = None) -> None:
        """Of what is no list yet, such as a range, before one is made. Raises InvalidRequest."""
        ids = prompt.get("input_ids") if isinstance(prompt, Mapping) else prompt
        if _is_list(ids) and not isinstance(ids, list | tuple) and _length(ids) > self._context:
            error = InvalidRequest(
                f"the prompt has more tokens than this model's context of {self._context}; shorten it"
            )
            if index is not None:
                error.tell_prompt(index)
            raise error

    def _ids_of(self, prompt: Single, index: int | None) -> list[int]:
        """index: in a list of prompts."""
        try:
            return self._ids(prompt)
        except InvalidRequest as error:
            if index is not None:
                error.tell_prompt(index)
            raise

    def _ids(self, prompt: Single) -> list[int]:
        if isinstance(prompt, str):
            ids = self._tokens(_checked(prompt))
        elif prompt and isinstance(prompt[0], dict):
            ids = self._tokens(_checked(self._as_text(prompt)), add_special_tokens=False)
        else:
            ids = [token for token in prompt if isinstance(token, int)]
        if not ids:
            raise _empty()
        self._ends.check_ids(ids)
        return ids

    def _tokens(self, text: str, **options: bool) -> list[int]:
        if self._tokenizer is None:
            raise _no_tokenizer("text")
        return list(self._tokenizer.encode(text, **options))

    def _as_text(self, conversation: Any) -> str:
        """By the chat template, which comes with the model, and may fail in any way that a program can."""
        from jinja2 import TemplateError  # noqa: PLC0415 - transformers, too, loads it with the first template

        if self._tokenizer is None:
            raise _no_tokenizer("a conversation")
        if not self._tokenizer.chat_template:
            raise InvalidRequest("this model has no chat template; give the prompt as text")
        try:
            text = self._tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise InvalidRequest(f"the model's chat template does not take this conversation: {why:.200}") from error
        return str(text)


def split(prompt: object) -> tuple[list[Single], bool]:
    """The prompts in what a caller gave, and whether that was a list of prompts. Raises InvalidRequest."""
    if isinstance(prompt, Mapping) and "input_ids" in prompt:
        rows, are_several = _rows_of(prompt, "the prompt")
        return [*rows], are_several
    if _is_list(prompt) and (not prompt or _is_prompt(prompt[0])):
        return [_single(one, f"prompt {number}") for number, one in enumerate(prompt)], True
    return [_single(prompt, "the prompt")], False


def _single(prompt: Any, where: str) -> Single:
    """One prompt. where: it stands, as in "prompt 3"."""
    if isinstance(prompt, str):
        return str(prompt)
    if isinstance(prompt, Mapping) and "input_ids" in prompt:
        rows, _ = _rows_of(prompt, where)
        if len(rows) != 1:
            raise InvalidRequest(f"{where} is a tokenizer's output for {len(rows)} texts; give it by itself")
        return rows[0]
    if isinstance(prompt, Mapping) and "role" in prompt:
        raise InvalidRequest(f"{where} is a single message; a conversation is a list of them, [{{'role': ...}}, ...]")
    if _is_array(prompt) and prompt.ndim > 0:
        (row,) = _rows(prompt, where, at_most=1)
        return row
    if not _is_list(prompt):
        raise InvalidRequest(f"{where} is {shown.value(prompt)}{_remedy(prompt)}; a prompt is {_TAKEN}")
    if any(isinstance(one, Mapping) for one in prompt[:1]):
        return [_message(one, f"message {number} of {where}") for number, one in enumerate(prompt)]
    return _token_ids(prompt, where)


def _token_ids(values: Iterable[object], where: str) -> list[int]:
    values = list(values)
    if all(type(one) is int for one in values):
        return values  # type: ignore[return-value]  # as was just seen
    return [_token_id(one, f"token {number} of {where}") for number, one in enumerate(values)]


def _token_id(value: Any, where: str) -> int:
    if _is_array(value) and value.ndim == 0:
        value = value.tolist()
    if not isinstance(value, bool) and isinstance(value, Integral):
        return int(value)
    if isinstance(value, str):
        raise InvalidRequest(f"{where} is {shown.value(value)}: token ids are whole numbers; texts are given as a list")
    deep = " prompts are nested too deep," if _is_list(value) or _is_array(value) else ""
    raise InvalidRequest(f"{where} is {shown.value(value)}:{deep} token ids are whole numbers")


def _message(message: object, where: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidRequest(f"{where} is {shown.value(message)}; write {{'role': 'user', 'content': '...'}}")
    for name in ("role", "content"):
        if name not in message:
            raise InvalidRequest(f"{where} has no {name}; write {{'role': 'user', 'content': '...'}}")
        if not isinstance(message[name], str):
            raise InvalidRequest(f"the {name} of {where} is {shown.value(message[name])}; it is to be text")
    if not message["role"]:
        raise InvalidRequest(f"the role of {where} is empty; it is to be system, user or assistant")
    return dict(message)


def _rows_of(encoding: Mapping[str, Any], where: str) -> tuple[list[list[int]], bool]:
    """What a tokenizer returned, without its padding, and whether that was for several texts."""
    ids, mask = encoding["input_ids"], encoding.get("attention_mask")
    rows, are_several = _all_rows(ids, f"input_ids of {where}")
    if mask is not None:
        kept, _ = _all_rows(mask, f"attention_mask of {where}")
        if [len(row) for row in kept] != [len(row) for row in rows]:
            raise InvalidRequest(f"attention_mask and input_ids of {where} have different shapes")
        pairs = zip(rows, kept, strict=True)
        rows = [[token for token, keep in zip(*pair, strict=True) if keep] for pair in pairs]
    return rows, are_several


def _all_rows(values: object, where: str) -> tuple[list[list[int]], bool]:
    if _is_array(values):
        rows = _rows(values, where)
        return rows, len(rows) != 1
    if _is_list(values) and values and (_is_list(values[0]) or _is_array(values[0])):
        return [_rows(one, where, at_most=1)[0] if _is_array(one) else _checked_ids(one, where) for one in values], True
    return [_checked_ids(values, where)], False


def _checked_ids(values: object, where: str) -> list[int]:
    if not _is_list(values):
        raise InvalidRequest(f"{where} is {shown.value(values)}; token ids are a list, or an array, of whole numbers")
    return _token_ids(values, where)


def _rows(array: Any, where: str, at_most: int | None = None) -> list[list[int]]:
    """Of an array of one dimension, or of two."""
    if array.ndim not in (1, 2):
        raise InvalidRequest(f"{where} is an array of {array.ndim} dimensions; token ids have one, [n], or are [1, n]")
    rows = array.tolist() if array.ndim == 2 else [array.tolist()]
    if at_most is not None and len(rows) != at_most:
        raise InvalidRequest(
            f"{where} is an array of {len(rows)} rows, which may be padded; give the tokenizer's whole output, with "
            "its attention_mask, or a list with a prompt for each"
        )
    return [_token_ids(row, where) for row in rows]


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)


def _length(several: Sequence[Any]) -> int:
    """At most what Python counts to."""
    try:
        return len(several)
    except OverflowError:
        return sys.maxsize


def _is_array(value: Any) -> bool:
    """Of numpy, torch or the like: none of these libraries is asked for by name."""
    return all(hasattr(value, name) for name in ("ndim", "dtype", "tolist"))


def _is_prompt(value: Any) -> bool:
    """Whether a list that begins with this is one of prompts."""
    if _is_array(value):
        return bool(value.ndim > 0)
    return isinstance(value, str) or _is_list(value) or (isinstance(value, Mapping) and "input_ids" in value)


def _remedy(prompt: object) -> str:
    """What to do with a thing that can be made a prompt."""
    if isinstance(prompt, bytes | bytearray):
        return ", which .decode() makes text of"
    if isinstance(prompt, Iterable) and not isinstance(prompt, Mapping):
        return ", which list(...) makes a list of"
    return ""


def _empty() -> InvalidRequest:
    return InvalidRequest("the prompt is empty; give at least one token")


def _no_tokenizer(what: str) -> InvalidRequest:
    return InvalidRequest(f"this model comes without a tokenizer, and {what} needs one; give token ids, as [1, 2, 3]")


def _checked(text: str) -> str:
    """Python makes half characters of bytes that are not UTF-8, and so does JSON. Raises InvalidRequest for them."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"the prompt is no text at character {error.start}: {text[error.start]!r} is half a character "
            "(a surrogate), as of bytes that are not UTF-8"
        ) from error
    return text
