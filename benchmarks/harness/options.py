"""Options' values, checked before anything is measured."""

import argparse


def count(text: str) -> int:
    """A whole number from 1 on."""
    try:
        found = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is not a whole number") from None
    if found < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {found}")
    return found


def seconds(text: str) -> float:
    """More than 0."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text:.40}")
    return found
