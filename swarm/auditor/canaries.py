"""Prompts that nobody can tell from a user's: cut anew every time, out of more text than anybody would write down.

The text is what comes with every Python: the language's reference, the documentation inside the standard library, and
the descriptions of whatever packages are installed. A peer sees activations, from which the first hop can recover the
text; that it is about Python tells it as little as that a user's is.
"""

import ast
import pydoc_data.topics
import random
import re
import sysconfig
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

from swarm.generate.options import Prompt

PROMPT_WORDS = 50.0  # median; nine of ten are between a fifth and five times as many
NEW_TOKENS = 32.0  # likewise
MAX_PROMPT_WORDS, MAX_NEW_TOKENS = 400, 256

_SPREAD = 1.0  # of the logarithm of lengths
_ENOUGH = 40  # words that a source must have
_TRIES = 100
_BEGINNING = re.compile(r"(?:^|(?<=[.!?:]\s)|(?<=\n\n))(?=\w)")


class Canaries:
    """Draws prompts, lengths and ways of sampling."""

    def __init__(self, rng: random.Random, has_chat: bool):
        """rng: unpredictable, such as random.SystemRandom. has_chat: the model takes conversations as well."""
        self._rng, self._has_chat = rng, has_chat
        self._given: set[int] = set()  # hashes of passages: a server may keep its answers to those that come again
        self._topics = list(pydoc_data.topics.topics.values())
        library = Path(sysconfig.get_paths()["stdlib"])
        self._modules = [*library.glob("*.py"), *library.glob("*/*.py")] or [Path(ast.__file__)]
        self._packages = list(distributions())
        self._sources: list[Callable[[], str]] = [self._topic, self._documentation]
        if self._packages:
            self._sources.append(self._description)

    def prompt(self) -> Prompt:
        """A passage to continue or, for a model that chats, in half of the cases, a message with it."""
        passage = self._passage()
        while hash(passage) in self._given:
            passage = self._passage()
        self._given.add(hash(passage))
        if self._has_chat and self._rng.random() < 0.5:
            return [{"role": "user", "content": passage}]
        return passage

    def new_tokens(self) -> int:
        """How many to ask for."""
        return min(max(round(self._length(NEW_TOKENS)), 1), MAX_NEW_TOKENS)

    def temperature(self) -> float:
        return self._rng.choice((0.0, self._rng.uniform(0.4, 1.2)))

    def _length(self, median: float) -> float:
        return median * self._rng.lognormvariate(0.0, _SPREAD)

    def _passage(self) -> str:
        words = min(max(round(self._length(PROMPT_WORDS)), 3), MAX_PROMPT_WORDS)
        text = self._text()
        start = self._rng.choice([match.start() for match in _BEGINNING.finditer(text)] or [0])
        return " ".join(re.findall(r"\S+\s*", text[start:])[:words]).strip() or text[:200]

    def _text(self) -> str:
        for _ in range(_TRIES):
            text = self._rng.choice(self._sources)()
            if len(text.split()) >= _ENOUGH:
                return text
        return self._topics[0]

    def _topic(self) -> str:
        return self._rng.choice(self._topics)

    def _documentation(self) -> str:
        """All that is documented in one module of the standard library, which is read and not run."""
        try:
            tree = ast.parse(self._rng.choice(self._modules).read_bytes())
        except (OSError, SyntaxError, ValueError):
            return ""
        nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, nodes)]
        return "\n\n".join(filter(None, found))

    def _description(self) -> str:
        """What a package says of itself."""
        metadata = self._rng.choice(self._packages).metadata.json  # with the text below the headers, if it is there
        return str(metadata.get("description", ""))
