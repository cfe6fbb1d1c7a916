"""What a client asks for, when it asks for a chain."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Wanted:
    """What a chain is wanted for."""

    prompt_tokens: int  # that are there
    new_tokens: int  # at most
    background: bool = False  # computed while peers have nothing else to do, at the idle price
    priority_fee: int = 0  # nano-credits per block-token on top
