"""The code's shape, read from its source: how long files and functions are, what classes hold, how deep folders go."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

AREAS = ("swarm", "kernels", "tests", "benchmarks")
GENERATED = "_pb2.py"
EXEMPT = {  # classes that are not held to the bars of a class, and why
    "swarm/results.py:Generation": "the public result of a generation, made of nothing but a prompt; its fields are it",
}
DATA = ("NamedTuple", "Protocol", "Enum", "IntEnum", "StrEnum", "TypedDict")  # bases of what is not a stateful class


@dataclass(frozen=True)
class Found:
    """A count and what has it: `swarm/x.py:Class`."""

    count: int
    name: str


@dataclass(frozen=True)
class Shape:
    """Of a whole tree; each list largest first."""

    files: list[Found]  # lines
    functions: list[Found]  # lines, from `def` to the last
    constructors: list[Found]  # parameters beside self, outside frozen dataclasses
    attributes: list[Found]  # assigned to self, of classes that are no frozen dataclasses
    folder_files: list[Found]  # of swarm; __init__.py apart
    folder_floors: list[Found]  # the longest way down along imports between its own files
    lines: int  # in swarm


def look(tree: Path) -> Shape:
    sources = list(find_sources(tree))
    code = [source for source in sources if source.area in ("swarm", "kernels")]
    swarm = [source for source in code if source.area == "swarm"]
    folders = {}
    for source in swarm:
        folders.setdefault(source.path.parent, []).append(source)
    return Shape(
        files=ranked(Found(source.lines, source.name) for source in sources),
        functions=ranked(function for source in sources for function in functions(source)),
        constructors=ranked(one for source in code for one in constructors(source)),
        attributes=ranked(one for source in code for one in attributes(source)),
        folder_files=ranked(Found(len(modules(inside)), f"{path}") for path, inside in folders.items()),
        folder_floors=ranked(Found(floors(inside), f"{path}") for path, inside in folders.items()),
        lines=sum(source.lines for source in swarm),
    )


def ranked(found: Iterable[Found]) -> list[Found]:
    return sorted(found, key=lambda one: (-one.count, one.name))


# --- sources ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    path: Path  # relative to the tree
    text: str

    @property
    def area(self) -> str:
        return self.path.parts[0]

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    @property
    def tree(self) -> ast.Module:
        return parsed(self.text)

    @property
    def module(self) -> str:
        parts = self.path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def find_sources(tree: Path) -> Iterator[Source]:
    for area in AREAS:
        for path in sorted((tree / area).rglob("*.py")):
            if not path.name.endswith(GENERATED):
                yield Source(path.relative_to(tree), path.read_text())


# --- functions and classes -------------------------------------------------------------------------------------------


def functions(source: Source) -> Iterator[Found]:
    for name, node in named(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Found(node.end_lineno - node.lineno + 1, f"{source.name}:{name}")


def classes(source: Source) -> Iterator[tuple[str, ast.ClassDef]]:
    for name, node in named(source.tree):
        where = f"{source.name}:{name}"
        if not isinstance(node, ast.ClassDef) or where in EXEMPT:
            continue
        if not (is_dataclass(node, frozen=True) or is_data(node)):
            yield where, node


def named(node: ast.AST, within: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every definition below `node` with its qualified name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{within}{child.name}"
            yield name, child
            yield from named(child, f"{name}.")
        else:
            yield from named(child, within)


def is_dataclass(node: ast.ClassDef, frozen: bool = False) -> bool:
    for decorator in node.decorator_list:
        if ast.unparse(decorator).split("(")[0].endswith("dataclass"):
            return not frozen or "frozen=True" in ast.unparse(decorator)
    return False


def is_data(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).split(".")[-1] in DATA for base in node.bases)


def fields(node: ast.ClassDef) -> list[ast.AnnAssign]:
    """Of a dataclass: what is annotated in its body and is no class variable."""
    if not is_dataclass(node):
        return []
    found = [one for one in node.body if isinstance(one, ast.AnnAssign)]
    return [one for one in found if "ClassVar" not in ast.unparse(one.annotation)]


def constructors(source: Source) -> Iterator[Found]:
    for name, node in classes(source):
        made = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
        if made:
            arguments = made.args
            count = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs) - 1
        else:
            count = sum("init=False" not in ast.unparse(one) for one in fields(node))
        yield Found(count, name)


def attributes(source: Source) -> Iterator[Found]:
    for name, node in classes(source):
        held = {one.target.id for one in fields(node)}
        for method in node.body:
            if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and method.args.args:
                held |= set(assigned(method, method.args.args[0].arg))
        yield Found(len(held), name)


def assigned(method: ast.AST, own: str) -> Iterator[str]:
    """Names of attributes of `own` that are assigned to."""
    for node in ast.walk(method):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == own:
            yield node.attr


# --- folders ---------------------------------------------------------------------------------------------------------


def modules(inside: list[Source]) -> list[Source]:
    return [source for source in inside if source.path.name != "__init__.py"]


def floors(inside: list[Source]) -> int:
    """Files on the longest way along imports that stay in the folder; what imports each other is one floor."""
    known = {source.module for source in modules(inside)}
    below = {source.module: (imports(source.tree) & known) - {source.module} for source in modules(inside)}

    @cache
    def depth(module: str, above: frozenset[str]) -> int:
        return 1 + max((depth(one, above | {module}) for one in below[module] - above), default=0)

    return max((depth(module, frozenset()) for module in known), default=0)


def imports(tree: ast.AST) -> set[str]:
    """Modules that are imported, but for type checking only; of `from a import b` both a and a.b."""
    return {name for _, name in import_lines(tree)}


def import_lines(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module)"""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        else:
            yield from import_lines(node)


def imports_of(tree: Path, files: Iterable[str], packages: tuple[str, ...]) -> list[str]:
    """Import lines of `packages` in `files`, as `file:line`."""
    found = set()
    for name in files:
        for line, module in import_lines(parsed((tree / name).read_text())):
            if module in packages or module.startswith(tuple(f"{one}." for one in packages)):
                found.add(f"{name}:{line}")
    return sorted(found)
