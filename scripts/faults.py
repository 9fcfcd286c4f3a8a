"""Make small faults in the text of a module, one at a time, for `mutate.py`.

Faults that change only a log line, an error text, a docstring or an annotation are not made.
"""

import ast
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Break: (ast.Continue,),
    ast.Continue: (ast.Break,),
}
REMOVABLE = (ast.Expr, ast.Raise, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete)


@dataclass(frozen=True, slots=True)
class Mutant:
    """The module's text with one fault, and the line and a description of the fault."""

    number: int
    line: int
    what: str
    text: str


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every fault of a module, one at a time."""
    tree = ast.parse(source)
    for number, (line, what) in enumerate(_faults(tree, tree, in_function=False), 1):
        text = ast.unparse(tree)
        with contextlib.suppress(SyntaxError):
            compile(text, "fault", "exec")
            yield Mutant(number, line, what, text)


def _faults(
    tree: ast.Module, node: ast.AST, *, in_function: bool, in_raise: bool = False
) -> Iterator[tuple[int, str]]:
    """Make each fault below a node in the tree, yield, and undo the fault."""
    in_function = in_function or isinstance(node, ast.FunctionDef)
    in_raise = in_raise or isinstance(node, ast.Raise)
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params"}:
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST) or _says_nothing(child):
                continue
            line = getattr(child, "lineno", getattr(node, "lineno", 0))
            for what, fault in _instead_of(child, name, in_function=in_function, in_raise=in_raise):
                _put(node, name, index, fault)
                yield line, what
                _put(node, name, index, child)
            if _amount(child) is None:
                yield from _faults(tree, child, in_function=in_function, in_raise=in_raise)


def _put(node: ast.AST, name: str, index: int, child: ast.AST) -> None:
    held = getattr(node, name)
    if isinstance(held, list):
        held[index] = child
    else:
        setattr(node, name, child)


def _says_nothing(node: ast.AST) -> bool:
    """Return whether a node is a docstring, a log line, an import or only for type checkers."""
    match node:
        case (
            ast.Import()
            | ast.ImportFrom()
            | ast.If(test=ast.Name(id="TYPE_CHECKING"))
            | ast.Assign(targets=[ast.Name(id="logger")])
            | ast.Expr(value=ast.Constant())
            | ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="logger"))))
        ):
            return True
    return False


def _amount(node: ast.AST) -> int | float | None:
    """Return a number of seconds, or of bytes (`10 * 1024 * 1024`), if the node is one.

    A change by one would not be noticeable; twice or half the amount should be.
    """
    match node:
        case ast.Constant(value=float() as number):
            return number
        case ast.BinOp(left, ast.Mult(), ast.Constant(value=int() | float() as factor)):
            first = left.value if isinstance(left, ast.Constant) else _amount(left)
            return first * factor if isinstance(first, int | float) else None
    return None


def _instead_of(
    node: ast.AST, field: str, *, in_function: bool, in_raise: bool
) -> Iterator[tuple[str, ast.AST]]:
    """Yield the faults that can replace a node, and a description of each."""
    for operator in OPERATORS.get(type(node), ()):
        yield f"{type(node).__name__} -> {operator.__name__}", operator()
    if isinstance(node, REMOVABLE) and in_function:
        yield f"removed `{_short(node)}`", ast.Pass()
    amount = _amount(node)
    if amount:
        yield f"{amount} -> {amount * 2}", ast.Constant(amount * 2)
        yield f"{amount} -> {type(amount)(amount / 2)}", ast.Constant(type(amount)(amount / 2))
    match node:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield f"`{_short(node)}` without not", operand
        case ast.Return(value=None):
            yield "removed `return`", ast.Pass()
        case ast.Return(value=ast.Constant(value=None)):
            yield "True instead of None", ast.Return(ast.Constant(True))
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield f"None instead of `{_short(value)}`", ast.Return(ast.Constant(None))
        case ast.Constant(value=bool() as truth):
            yield f"{truth} -> {not truth}", ast.Constant(not truth)
        case ast.Constant(value=int() as number):
            yield f"{number} -> {number + 1}", ast.Constant(number + 1)
            yield f"{number} -> {number - 1}", ast.Constant(number - 1)
        case ast.Constant(value=str() as text) if not in_raise:
            yield f"another text for {text!r:.40}", ast.Constant(f"{text}XX")
        case ast.Constant(value=bytes() as data):
            yield f"other bytes for {data!r:.40}", ast.Constant(data + b"XX")
        case ast.With(body=body):
            yield f"no `{_short(node)}`", ast.If(ast.Constant(True), body, [])
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
            for gone in handlers:
                rest = [one for one in handlers if one is not gone]
                parts = (body, rest, orelse) if rest else ([*body, *orelse], [], [])
                yield f"no handler at line {gone.lineno}", ast.Try(*parts, final or [ast.Pass()])
            if final:
                yield "no finally", ast.Try(body, handlers, orelse, [ast.Pass()])
    is_test = field in {"test", "ifs"} and not isinstance(node, ast.Compare | ast.BoolOp)
    if is_test and isinstance(node, ast.expr) and not isinstance(node, ast.UnaryOp):
        yield f"not `{_short(node)}`", ast.UnaryOp(ast.Not(), node)


def _short(node: ast.AST) -> str:
    line = ast.unparse(node).splitlines()[0]
    return line if len(line) <= 60 else f"{line[:57]}..."
