"""docs/troubleshooting.md quotes messages as they are said: who looks for one finds it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
VARIES = "..."


def quoted() -> list[str]:
    """The messages in the first column of the first table."""
    (page,) = re.findall(
        r"## What one meets first\n(.*?)\n## ", (ROOT / "docs" / "troubleshooting.md").read_text(), re.S
    )
    return re.findall(r"^\| `(.+?)`", page, re.M)


@cache
def source() -> str:
    """All texts of the program, with a mark where a value goes."""
    trees = [ast.parse(file.read_text()) for file in sorted((ROOT / "swarm").rglob("*.py"))]
    return "\n".join(
        _text(node) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant | ast.JoinedStr)
    )


def _text(node: ast.AST) -> str:
    match node:
        case ast.Constant(str() as text):
            return re.sub(r"%[.\d]*[sdf]", VARIES, text)
        case ast.JoinedStr(parts):
            return "".join(_text(part) if isinstance(part, ast.Constant) else VARIES for part in parts)
    return ""


@pytest.mark.parametrize("message", quoted())
def test_a_quoted_message_is_one_that_the_program_says(message):
    fixed = [words for part in message.split(VARIES) if len(words := part.strip(" .:;,()")) > 2]
    assert fixed, "it says nothing"
    for words in fixed:
        assert words in source(), f"{words!r} is said nowhere: {message}"


def test_there_are_quoted_messages():
    assert len(quoted()) >= 20
