"""Text to token ids and back. Only clients import this file: it brings tokenizers, and transformers where it must.

transformers builds a tokenizer from a GGUF file too, but takes six seconds for the demo model, here half a second.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from swarm.errors import ModelError
from swarm.model.files.gguf import GGUFFile
from swarm.model.light_tokenizer import LightTokenizer

if TYPE_CHECKING:
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    AnyTokenizer = PreTrainedTokenizerBase | LightTokenizer

_CONTROL, _USER_DEFINED = 3, 4  # of tokenizer.ggml.token_type

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

# What tokenizer.ggml.pre names: the patterns that cut text into pieces before merging, applied one after the other.
_SPLITS = {
    "default": (_GPT2,),
    "gpt-2": (_GPT2,),
    "smollm": (r"\p{N}", _GPT2),
    "llama-bpe": (_LLAMA3,),
    "qwen2": (_QWEN2,),
}


_FILES = ("tokenizer*", "vocab*", "*.model", "*.tiktoken", "tekken.json")  # any of which a folder with a tokenizer has


def has_tokenizer(source: Path | str) -> bool:
    """Whether there is one to load. source: as in load_tokenizer; where it is no folder, one is always expected."""
    if not isinstance(source, Path) or not source.is_dir():
        return True
    return any(next(source.glob(pattern), None) for pattern in _FILES)


def load_tokenizer(source: Path | str, revision: str) -> "AnyTokenizer":
    """source: a GGUF file, a folder, or a repository id on the hub, of which `revision` is a commit."""
    if isinstance(source, Path) and source.suffix == ".gguf":
        return _from_gguf(source)
    try:
        if isinstance(source, Path):
            return _auto_tokenizer().from_pretrained(source)
        return _auto_tokenizer().from_pretrained(source, revision=revision)
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise ModelError(f"{source} has no usable tokenizer: {why:.300}") from error


def _from_gguf(path: Path) -> "AnyTokenizer":
    prefix = "tokenizer.ggml."
    file = GGUFFile(path, arrays=[prefix + "tokens", prefix + "token_type", prefix + "merges"])
    values = {key.removeprefix(prefix): value for key, value in file.metadata.items() if key.startswith(prefix)}
    if values.get("model") != "gpt2":
        # SentencePiece vocabularies (Llama 2, Mistral 7B): rarer, and transformers has the conversion.
        return _auto_tokenizer().from_pretrained(path.parent, gguf_file=path.name)
    tokens = values.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ModelError(f"{path}: tokenizer.ggml.tokens is missing or not a list of strings")
    special = {name: _special_token(path, values, name, tokens) for name in ("bos", "eos", "unknown", "padding")}
    tokenizer = _byte_level_bpe(path, values, tokens)
    if values.get("add_bos_token") and special["bos"] is not None:
        bos = special["bos"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokens.index(bos))]
        )
    names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
    named = {names[name]: token for name, token in special.items()}
    return LightTokenizer(tokenizer, named, file.metadata.get("tokenizer.chat_template"))


def _auto_tokenizer() -> "type[AutoTokenizer]":
    """Imported only for tokenizers that need it: transformers takes half a second of a processor."""
    auto: type[AutoTokenizer] = import_module("transformers").AutoTokenizer
    return auto


def _special_token(path: Path, values: dict[str, Any], name: str, tokens: list[str]) -> str | None:
    token_id = values.get(f"{name}_token_id")
    if token_id is None:
        return None
    if not isinstance(token_id, int) or not 0 <= token_id < len(tokens):
        raise ModelError(f"{path}: tokenizer.ggml.{name}_token_id {token_id!r:.20} is no token")
    return tokens[token_id]


def _byte_level_bpe(path: Path, values: dict[str, Any], tokens: list[str]) -> Tokenizer:
    merges = values.get("merges")
    if not isinstance(merges, list) or not all(isinstance(merge, str) and merge.count(" ") == 1 for merge in merges):
        raise ModelError(f"{path}: tokenizer.ggml.merges is missing or not a list of pairs")
    split = values.get("pre", "default")
    if split not in _SPLITS:
        raise ModelError(f"{path}: pre-tokenizer {split!r:.40} is not supported; supported are {', '.join(_SPLITS)}")
    vocabulary = {token: index for index, token in enumerate(tokens)}
    # Llama 3's vocabulary holds words that its merges do not lead to; a piece that is a token needs no merging there.
    model = BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges], ignore_merges=split == "llama-bpe")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFC() if split == "qwen2" else None
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in _SPLITS[split]),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = values.get("token_type")
    kinds = kinds if isinstance(kinds, list) else []
    for kind, is_special in ((_CONTROL, True), (_USER_DEFINED, False)):
        added = [token for token, its_kind in zip(tokens, kinds, strict=False) if its_kind == kind]
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=is_special) for token in added])
    return tokenizer
