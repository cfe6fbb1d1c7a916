"""The file itself: which one counts, and what is in it. Imports nothing heavy."""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm.cli.support.parser import CONFIG
from swarm.errors import UnusableFile
from swarm.home.folder import swarm_home
from swarm.storage.files import expanded, read_regular

NAME = "swarm.toml"
VARIABLE = "SWARM_CONFIG"  # empty: no file counts


@dataclass(frozen=True)
class SettingsFile:
    """One that was read. table: what it says; text: how."""

    path: Path
    table: Mapping[str, Any]
    text: str

    def where(self, section: str, key: str = "") -> str:
        """ "FILE, line 3": of a key in a section, "" for those before the first, or of the section itself."""
        here = ""
        for number, line in enumerate(self.text.splitlines(), 1):
            if header := re.match(r"\s*\[([^]]+)\]", line):
                here = header[1].replace(" ", "")
                if not key and here == section:
                    return f"{self.path}, line {number}"
            elif key and here == section and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", line):
                return f"{self.path}, line {number}"
        return str(self.path)


def default_file() -> Path:
    return swarm_home() / NAME


def find_file(arguments: Sequence[str]) -> Path | None:
    """The one named by --config, by SWARM_CONFIG, or the one under SWARM_HOME; None if there is none."""
    if named := _named(arguments):
        return expanded(named)
    if VARIABLE in os.environ:
        return expanded(os.environ[VARIABLE]) if os.environ[VARIABLE] else None
    default = default_file()
    return default if default.is_symlink() or default.exists() else None  # a link that leads nowhere was meant to count


def _named(arguments: Sequence[str]) -> str:
    typed = list(arguments)
    typed = typed[: typed.index("--")] if "--" in typed else typed
    for place, word in enumerate(typed):
        if word == CONFIG:
            return typed[place + 1] if place + 1 < len(typed) else ""
        if word.startswith(f"{CONFIG}="):
            return word.removeprefix(f"{CONFIG}=")
    return ""


def read_file(path: Path) -> SettingsFile:
    """Raises UnusableFile in one line if it cannot be read, or is no TOML."""
    try:
        text = read_regular(path).decode("utf-8-sig")
        return SettingsFile(path, tomllib.loads(text), text)
    except OSError as error:
        raise UnusableFile(f"the settings in {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UnusableFile(f"the settings in {path} are not UTF-8: {error.reason} at byte {error.start}") from error
    except (ValueError, RecursionError) as error:  # also of a number that has too many digits
        raise UnusableFile(f"the settings in {path} are not TOML: {error}") from error
