"""A tokenizer that does without transformers, which takes half a second of a processor to import."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class LightTokenizer:
    """Text to ids and back as transformers' tokenizer of the same parts does it. For all else, such as chat templates,
    it is that tokenizer, which is made when first wanted."""

    def __init__(self, parts: Tokenizer, special: Mapping[str, str | None], chat_template: str | None):
        """special: bos_token, eos_token, unk_token, pad_token, as far as there are any."""
        self._parts, self._special, self.chat_template = parts, dict(special), chat_template
        # As transformers does: what a model calls special is, whatever else its file says of it.
        known = {str(token) for token in parts.get_added_tokens_decoder().values()}
        wanted = [token for token in special.values() if token is not None and token not in known]
        parts.add_tokens([AddedToken(token, special=True) for token in wanted])

    def __repr__(self) -> str:
        template = "with" if self.chat_template else "without"
        return f"<Tokenizer of {len(self):,} tokens, {template} chat template; .full is that of transformers>"

    def encode(self, text: Any, *others: Any, add_special_tokens: bool = True, **options: Any) -> list[int]:
        """Of text, the ids; of anything else, what transformers makes of it."""
        ids: list[int]
        if isinstance(text, str) and not others and not options:
            ids = self._parts.encode(text, add_special_tokens=add_special_tokens).ids
        else:
            ids = self.full.encode(text, *others, add_special_tokens=add_special_tokens, **options)
        return ids

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **options: Any) -> str:
        """Of a list of ids, the text; of anything else, what transformers makes of it."""
        if isinstance(token_ids, Sequence) and not options:
            text: str = self._parts.decode(token_ids, skip_special_tokens=skip_special_tokens)
            return text
        return str(self.full.decode(token_ids, skip_special_tokens=skip_special_tokens, **options))

    def __call__(self, *texts: Any, **options: Any) -> Any:
        return self.full(*texts, **options)

    def __len__(self) -> int:
        return self._parts.get_vocab_size()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # such as those that copy and pickle look for
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.full, name)

    @cached_property
    def full(self) -> "PreTrainedTokenizerFast":
        """transformers' own."""
        special: dict[str, Any] = self._special
        make = import_module("transformers").PreTrainedTokenizerFast
        tokenizer: PreTrainedTokenizerFast = make(
            tokenizer_object=self._parts,
            chat_template=self.chat_template,
            clean_up_tokenization_spaces=False,
            **special,
        )
        return tokenizer
