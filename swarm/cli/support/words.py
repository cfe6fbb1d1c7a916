"""What somebody may have meant who typed a word that is not known: a near one, or another tool's for the same thing.
Imports nothing heavy."""

from collections.abc import Sequence
from difflib import get_close_matches

# Of llama.cpp, vLLM, transformers, Petals, Hivemind, ollama: by what it is called here, what they call it.
_ELSEWHERE = {
    "--max-new-tokens": "-n --n-predict --num-predict --max-tokens --tokens --max-length --limit",
    "--temperature": "--temp --t",
    "--repetition-penalty": "--repeat-penalty --frequency-penalty",
    "--model": "-m --model-path --model-name --model-id --model-name-or-path -hf --hf-repo --repo --checkpoint",
    "--peers": "--peer --initial-peers --initial-peer --bootstrap --bootstrap-peers --join --connect --seed-peers",
    "--host": "--address --bind --listen --hostname --ip",
    "--announce": "--public-ip --external-ip --public-name --announce-maddrs --advertise",
    "--port": "-p",
    "--device": "--gpu --cuda --cpu -ngl --n-gpu-layers",
    "--blocks": "--layers --block-indices --num-blocks --range",
    "--quant": "--quantization --quantize --quant-type --load-in-4bit --load-in-8bit",
    "--dtype": "--torch-dtype --precision",
    "--kv-memory": "--kv-cache-memory --cache-memory",
    "--max-context": "--ctx -c --ctx-size --n-ctx --max-model-len --context --context-length --max-tokens --max-length",
    "--memory": "--mem --ram --vram --max-memory",
    "--threads": "-t --num-threads --n-threads -j",
    "--verbose": "--debug --log-level",
    "--secret-file": "--secret --password --token",
    "--identity": "--key",
    "--system": "--system-prompt",
    "--wait": "--timeout",
    "--interval": "--watch",
    "--output": "--out",
    "--out": "--output -o",
}
_NEAR = 0.6  # as difflib measures it


def meant(typed: str, known: Sequence[str]) -> str:
    """The one of `known` that was meant by `typed`, an option or a word; empty if there is none such."""
    name = typed.split("=", 1)[0]
    plain = name.lower().replace("_", "-")
    if plain in known:
        return plain
    theirs = [ours for ours, words in _ELSEWHERE.items() if plain in words.split()]
    if theirs:
        return next((ours for ours in theirs if ours in known), "")
    if plain.startswith("-") and not plain.startswith("--"):  # a letter is near to everything
        return f"-{plain}" if f"-{plain}" in known else ""
    longer = [one for one in known if one.startswith(plain) and len(plain) > 4]
    near = longer or get_close_matches(plain, [one for one in known if len(one) > 2], 1, _NEAR)
    return near[0] if near else ""


def hint(typed: str, known: Sequence[str]) -> str:
    """ "; did you mean X?", or nothing."""
    found = meant(typed, known)
    return f"; did you mean {found}?" if found else ""
