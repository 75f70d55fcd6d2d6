"""What a mutant is: one small change to one place of a Python file.

Changes are found in the syntax tree and made in the text, so that a mutant can be shown as the
line before and after. What no test can or should notice is left alone: docstrings, annotations,
decorators, messages, and lines that only pass a message on.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_COMPARISONS: dict[type, tuple[type, str, str]] = {
    ast.Lt: (ast.LtE, "<", "<="),
    ast.LtE: (ast.Lt, "<=", "<"),
    ast.Gt: (ast.GtE, ">", ">="),
    ast.GtE: (ast.Gt, ">=", ">"),
    ast.Eq: (ast.NotEq, "==", "!="),
    ast.NotEq: (ast.Eq, "!=", "=="),
    ast.Is: (ast.IsNot, "is", "is not"),
    ast.IsNot: (ast.Is, "is not", "is"),
    ast.In: (ast.NotIn, "in", "not in"),
    ast.NotIn: (ast.In, "not in", "in"),
}
_OPERATORS: dict[type, str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "//",
    ast.Pow: "*",
    ast.BitOr: "&",
    ast.BitAnd: "|",
}
_FUNCTIONS = {"min": "max", "max": "min", "all": "any", "any": "all"}


@dataclass
class Mutant:
    """One change; ``outcome`` is filled in by the run.

    Attributes:
        file: its path below the repository.
        line, last: the lines that the change touches, from 1.
        where: the function or class that it is in.
        before, after: the text that is changed, and what takes its place.
        start, stop: where that text is, in characters of the file.
    """

    file: str
    line: int
    last: int
    where: str
    before: str
    after: str
    start: int
    stop: int
    shown: str = ""
    outcome: str = ""

    @property
    def key(self) -> str:
        """What names it while lines move: its place in words, and the change."""
        return f"{self.file} {self.where}: {self.shown}"

    def apply(self, text: str) -> str:
        """The file with the change made."""
        return text[: self.start] + self.after + text[self.stop :]


def mutants_of(root: Path, file: str) -> list[Mutant]:
    """All mutants of one file, in its order."""
    text = (root / file).read_text()
    return list(_Finder(file, text).run())


class _Finder:
    def __init__(self, file: str, text: str) -> None:
        self._file, self._text = file, text
        self._lines = text.splitlines(keepends=True)
        self._offsets = [0]
        for line in self._lines:
            self._offsets.append(self._offsets[-1] + len(line))

    def run(self) -> Iterator[Mutant]:
        seen = set()
        for mutant in self._in_block(ast.parse(self._text).body, "module"):
            place = (mutant.start, mutant.stop, mutant.after)
            if place not in seen:
                seen.add(place)
                yield mutant

    def _offset(self, line: int, column: int) -> int:
        """The character that a byte column of the syntax tree is."""
        wide = len(self._lines[line - 1].encode()[:column].decode())
        return self._offsets[line - 1] + wide

    def _span(self, node: ast.AST) -> tuple[int, int]:
        return (
            self._offset(node.lineno, node.col_offset),
            self._offset(node.end_lineno, node.end_col_offset),
        )

    def _source(self, node: ast.AST) -> str:
        start, stop = self._span(node)
        return self._text[start:stop]

    def _change(self, start: int, stop: int, after: str, where: str) -> Mutant:
        line = self._text.count("\n", 0, start) + 1
        last = self._text.count("\n", 0, max(stop - 1, start)) + 1
        left, right = self._offsets[line - 1], self._offsets[last]
        old = " ".join(self._text[left:right].split())
        new = " ".join((self._text[left:start] + after + self._text[stop:right]).split())
        before = self._text[start:stop]
        return Mutant(
            self._file, line, last, where, before, after, start, stop, f"{old}  =>  {new}"
        )

    def _replace(self, node: ast.AST, after: str, where: str) -> Mutant:
        return self._change(*self._span(node), after, where)

    def _in_block(self, body: list[ast.stmt], where: str) -> Iterator[Mutant]:
        for statement in body:
            yield from self._in_statement(statement, where)

    def _in_statement(self, node: ast.stmt, where: str) -> Iterator[Mutant]:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Pass | ast.Global):
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            inner = node.name if where == "module" else f"{where}.{node.name}"
            if isinstance(node, ast.FunctionDef):
                for default in (*node.args.defaults, *node.args.kw_defaults):
                    if default is not None:
                        yield from self._in_expression(default, inner)
            yield from self._in_block(node.body, inner)
            return
        if isinstance(node, ast.Raise):
            # That something is refused counts, not with which words.
            yield self._replace(node, "pass", where)
            return
        dropped = isinstance(node, ast.AugAssign | ast.Delete | ast.Continue | ast.Break)
        dropped |= isinstance(node, ast.Expr) and not isinstance(node.value, ast.Yield)
        if isinstance(node, ast.Assign):
            dropped = not isinstance(node.targets[0], ast.Name | ast.Tuple)
        if dropped:
            yield self._replace(node, "pass", where)
        # None is as false as False.
        if isinstance(node, ast.Return) and node.value is not None:
            yield from self._returned(node.value, where)
        if isinstance(node, ast.If | ast.While):
            yield self._replace(node.test, f"not ({self._source(node.test)})", where)
        for name, value in ast.iter_fields(node):
            if name == "annotation" or (name == "targets" and isinstance(node, ast.Assign)):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.stmt):
                    yield from self._in_statement(child, where)
                elif isinstance(child, ast.excepthandler):
                    yield from self._in_block(child.body, where)
                elif isinstance(child, ast.withitem):
                    yield from self._in_expression(child.context_expr, where)
                elif isinstance(child, ast.expr):
                    yield from self._in_expression(child, where)

    def _returned(self, value: ast.expr, where: str) -> Iterator[Mutant]:
        if self._source(value) not in ("None", "False"):
            yield self._replace(value, "None", where)

    def _in_expression(self, node: ast.AST, where: str) -> Iterator[Mutant]:
        if isinstance(node, ast.JoinedStr | ast.FormattedValue):
            return
        if isinstance(node, ast.keyword) and node.arg == "strict":
            return
        if isinstance(node, ast.Call) and self._source(node).endswith(".reshape(-1)"):
            # To NumPy, -2 is as good.
            yield from self._in_expression(node.func, where)
            return
        yield from self._here(node, where)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr | ast.keyword | ast.comprehension | ast.slice):
                yield from self._in_expression(child, where)

    def _between(self, left: ast.expr, right: ast.expr, old: str, new: str, where: str) -> Mutant:
        """Another operator between two expressions."""
        start, stop = self._span(left)[1], self._span(right)[0]
        place = self._text.index(old, start, stop)
        return self._change(place, place + len(old), new, where)

    def _here(self, node: ast.AST, where: str) -> Iterator[Mutant]:
        if isinstance(node, ast.Compare):
            terms = [node.left, *node.comparators]
            for i, operator in enumerate(node.ops):
                _, old, new = _COMPARISONS[type(operator)]
                yield self._between(terms[i], terms[i + 1], old, new, where)
        elif isinstance(node, ast.BoolOp):
            old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield self._between(left, right, old, new, where)
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            if not _is_text(node.left) and not _is_text(node.right):
                old = {ast.Pow: "**", ast.FloorDiv: "//"}.get(type(node.op)) or _sign(node.op)
                yield self._between(node.left, node.right, old, _OPERATORS[type(node.op)], where)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
            yield self._replace(node, self._source(node.operand), where)
        elif isinstance(node, ast.IfExp):
            yield self._replace(node.test, f"not ({self._source(node.test)})", where)
        elif isinstance(node, ast.comprehension):
            for test in node.ifs:
                yield self._replace(test, f"not ({self._source(test)})", where)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
                yield self._replace(node.func, _FUNCTIONS[node.func.id], where)
            for keyword in node.keywords:
                if keyword.arg not in (None, "strict"):
                    yield self._dropped(keyword, where)
        elif isinstance(node, ast.Constant):
            yield from self._constant(node, where)

    def _dropped(self, keyword: ast.keyword, where: str) -> Mutant:
        """A call without one of its named arguments, with the comma that followed."""
        start, stop = self._span(keyword)
        rest = self._text[stop:]
        trimmed = rest.lstrip()
        if trimmed.startswith(","):
            stop += len(rest) - len(trimmed) + 1
        return self._change(start, stop, "", where)

    def _constant(self, node: ast.Constant, where: str) -> Iterator[Mutant]:
        value = node.value
        if isinstance(value, bool):
            yield self._replace(node, str(not value), where)
        elif isinstance(value, int | float):
            yield self._replace(node, repr(value + 1), where)
        elif isinstance(value, str) and value.isidentifier():
            # The name of an op, an attribute or an input.
            yield self._replace(node, repr(f"{value}_"), where)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _sign(operator: ast.operator) -> str:
    signs = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Mod: "%"}
    return (signs | {ast.BitOr: "|", ast.BitAnd: "&"})[type(operator)]
