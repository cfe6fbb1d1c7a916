"""Mutations of Python source: a comparison flipped, a constant off by one, a statement dropped. Pure."""

import ast
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

_COMPARED = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
}  # fmt: skip
_COUNTED = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "//"), ast.FloorDiv: ("//", "*"),
    ast.Div: ("/", "*"), ast.Mod: ("%", "*"),
}  # fmt: skip
_SYMMETRIC = ("min", "max")  # of two arguments it does not matter which comes first
_TEXTS = (ast.Constant, ast.JoinedStr)  # a text's "%" and "+" are no arithmetic
_SILENT = ("logger", "print", "warnings")  # what says something and changes nothing


@dataclass(frozen=True)
class Mutation:
    """`before` at bytes start to stop of a file becomes `after`."""

    file: str
    line: int
    kind: str
    start: int
    stop: int
    before: str
    after: str

    def apply(self, source: bytes) -> bytes:
        assert source[self.start : self.stop] == self.before.encode(), f"{self.file} is not what it was"
        return source[: self.start] + self.after.encode() + source[self.stop :]

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def mutations(file: str, source: bytes, lines: Collection[int]) -> list[Mutation]:
    """All that can be done to statements of functions on these lines, those that do not parse left out."""
    offsets = [0]
    for line in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    found = []
    for node, kind, after in _changes(ast.parse(source), source, offsets):
        if node.lineno not in lines:
            continue
        start, stop = _span(node, offsets)
        found.append(Mutation(file, node.lineno, kind, start, stop, source[start:stop].decode(), after))
    return [one for one in found if one.before != one.after and _parses(one.apply(source))]


def draw(by_room: Mapping[str, Sequence[Mutation]], count: int, seed: int) -> list[Mutation]:
    """`count` of them, from every room as many as from any other (but for the rest), every kind as likely as any
    other, and no two of one line."""
    drawn: list[Mutation] = []
    piles = {}
    for room, all_ in by_room.items():
        chance, kinds = random.Random(f"{seed} {room}"), {}
        for one in sorted(all_, key=lambda one: (one.file, one.start, one.kind)):
            kinds.setdefault(one.kind, []).append(one)
        piles[room] = _mixed(kinds, chance)
    while len(drawn) < count and piles:
        for room in list(piles):
            taken = {one.place for one in drawn}
            one = next((one for one in piles[room] if one.place not in taken), None)
            if one is None:
                del piles[room]
            elif len(drawn) < count:
                drawn.append(one)
    return drawn


def _mixed(kinds: Mapping[str, list[Mutation]], chance: random.Random) -> Iterator[Mutation]:
    for pile in kinds.values():
        chance.shuffle(pile)
    while kinds := {kind: pile for kind, pile in kinds.items() if pile}:
        yield kinds[chance.choice(sorted(kinds))].pop()


def _span(node: ast.AST, offsets: Sequence[int]) -> tuple[int, int]:
    return offsets[node.lineno - 1] + node.col_offset, offsets[node.end_lineno - 1] + node.end_col_offset


def _parses(source: bytes) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


def _changes(tree: ast.Module, source: bytes, offsets: Sequence[int]) -> Iterator[tuple[ast.AST, str, str]]:
    """(what is replaced, the kind of change, by what), in the bodies of functions."""

    def text(node: ast.AST) -> str:
        start, stop = _span(node, offsets)
        return source[start:stop].decode()

    def operator(node: ast.AST, left: ast.AST, right: ast.AST, one: str, other: str) -> str:
        """The text of `left one right` with the other operator; parentheses stay where they are."""
        (start, stop), (_, left_stop), (right_start, _) = (_span(each, offsets) for each in (node, left, right))
        between = source[left_stop:right_start].decode().replace(one, other, 1)
        return f"({source[start:left_stop].decode()}{between}{source[right_start:stop].decode()})"

    for node in _inside(tree):
        match node:
            case ast.Compare(left, [op], [right]) if type(op) in _COMPARED:
                yield node, "comparison", operator(node, left, right, *_COMPARED[type(op)])
            case ast.BinOp(left, op, right) if type(op) in _COUNTED and not isinstance(left, _TEXTS):
                yield node, "arithmetic", operator(node, left, right, *_COUNTED[type(op)])
            case ast.BoolOp(op, [left, right]):
                is_and = isinstance(op, ast.And)
                yield node, "and/or", operator(node, left, right, *(("and", "or") if is_and else ("or", "and")))
            case ast.Constant(bool(value)):
                yield node, "constant", str(not value)
            case ast.Constant(int(value)):
                yield node, "constant", str(value + 1)
            case ast.Call(func, [first, second, *_]) if text(first) != text(second) and text(func) not in _SYMMETRIC:
                if not isinstance(first, ast.Starred) and not isinstance(second, ast.Starred):
                    start, stop = _span(node, offsets)
                    (one, one_end), (two, two_end) = _span(first, offsets), _span(second, offsets)
                    parts = (start, one), (two, two_end), (one_end, two), (one, one_end), (two_end, stop)
                    yield node, "arguments", b"".join(source[slice(*part)] for part in parts).decode()
            case ast.Expr(ast.Call()):
                yield node, "statement", "pass"
            case ast.AugAssign():
                yield node, "statement", "pass"
            case ast.If(test) | ast.While(test) | ast.IfExp(test):
                if not isinstance(test, ast.Constant):
                    yield test, "condition", f"(not ({text(test)}))"
            case ast.Return(value) if value is not None and not isinstance(value, ast.Constant):
                yield node, "return", "return None"


def _is_silent(node: ast.AST) -> bool:
    match node:
        case ast.Expr(ast.Call(func)):
            return ast.unparse(func).startswith(_SILENT)
    return False


def _inside(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes of functions' bodies: no annotations, defaults, decorators, docstrings, nor what is in an f-string or
    describes an error."""
    stack: list[tuple[ast.AST, bool]] = [(tree, False)]
    while stack:
        node, within = stack.pop()
        if isinstance(node, ast.JoinedStr | ast.Raise | ast.Assert) or _is_silent(node):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            stack += [(child, True) for child in node.body]
            continue
        if within:
            yield node
        children = ast.iter_child_nodes(node)
        if isinstance(node, ast.AnnAssign):
            children = iter([node.value] if node.value else [])
        stack += [(child, within) for child in children]
