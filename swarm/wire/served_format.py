"""The format in which a peer serves blocks: of its weights, and of activations. Imports nothing heavy."""


def usual_dtype(quant: str) -> str:
    """Of activations, where nobody says otherwise."""
    return "float32" if quant == "none" else "bfloat16"


def format_in_words(quant: str, dtype: str) -> str:
    """As people read it: "float32", "int4, bfloat16 activations"."""
    return dtype if quant == "none" else f"{quant}, {dtype} activations"


def format_options(quant: str, dtype: str) -> list[str]:
    """Words of a command line with which a server serves in it."""
    words = ["--quant", quant] if quant != "none" else []
    return [*words, "--dtype", dtype] if dtype != usual_dtype(quant) else words
