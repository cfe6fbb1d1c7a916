"""A report to hand in, as Markdown. Pure."""

from collections.abc import Iterable, Mapping, Sequence


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Columns are the keys of the first row."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def facts(known: Mapping[str, object]) -> str:
    """A list of what is known, without what is not."""
    lines = (f"- {name}: {_cell(_listed(value))}" for name, value in known.items() if value not in (None, "", [], {}))
    return "\n".join(lines)


def _listed(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def page(title: str, sections: Iterable[tuple[str, str]]) -> str:
    """sections: heading ("" for none), text; those without text are left out."""
    parts = [f"# {title}"]
    for heading, text in sections:
        if text:
            parts += [f"## {heading}", text] if heading else [text]
    return "\n\n".join(parts) + "\n"


def code(text: str) -> str:
    return f"```\n{text}\n```"


def bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
