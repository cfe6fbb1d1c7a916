"""Options' values, checked before anything is measured."""

import argparse
import os
from pathlib import Path


def count(text: str) -> int:
    """A whole number from 1 on."""
    try:
        found = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is not a whole number") from None
    if found < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {found}")
    return found


def folder(text: str) -> Path:
    """One that is there, or can be made."""
    path = Path(text)
    there = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise argparse.ArgumentTypeError(f"{there} is no folder that can be written to")
    return path


def seconds(text: str) -> float:
    """More than 0."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text:.40}")
    return found
