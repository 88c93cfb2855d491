r"""What each LaTeX command means inside an expression."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cepo.answers.tree import Matrix, Node, Part, Unreadable
from cepo.answers.vocabulary import words

if TYPE_CHECKING:
    from cepo.answers.expressions import Expressions
    from cepo.answers.tokens import Token

__all__ = ["FUNCTIONS", "STARTS_FACTOR", "read"]

FUNCTIONS = words("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp max min gcd lcm")
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
_OF_MANY = frozenset({"max", "min", "gcd", "lcm"})
_DECORATIONS = words(
    "bar hat vec tilde dot ddot overline overrightarrow overleftarrow widehat widetilde overarc wideparen"
)
_EITHER_WAY = frozenset({"overline", "overarc", "wideparen"})
"""Decorations of two points whose order does not matter: the segment CD is the segment DC."""
_GEOMETRY = words("angle triangle odot square parallelogram")
_GREEK = words(
    "alpha beta gamma delta epsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho varrho sigma tau upsilon "
    "phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar partial"
)
_FENCES = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil"), "lvert": ("rvert", "abs")}
STARTS_FACTOR = (
    FUNCTIONS | _DECORATIONS | _GEOMETRY | _GREEK | _FENCES.keys() | {"sqrt", "frac", "binom", "pi", "infty", "mathbb"}
)
"""Commands that may follow a factor with no sign between."""
_MATRICES = words("pmatrix bmatrix matrix smallmatrix Bmatrix array")


def read(parser: Expressions, name: str) -> Part:
    """The part that starts with the command `name`, which has just been read.

    Raises:
        Unreadable: a command of which nothing is known here.
    """
    if name in FUNCTIONS:
        return _function(parser, name)
    if name in _GREEK:
        return _greek(parser, name)
    if name in _DECORATIONS:
        return _decorated(parser, name)
    if name in _GEOMETRY:
        return _figure_of_points(parser, name)
    if name in _FENCES:
        closing, op = _FENCES[name]
        return Node(op, (parser.inside(closing),))
    if name in _SPECIAL:
        return _SPECIAL[name](parser)
    raise Unreadable(f"the command \\{name}")


def _greek(parser: Expressions, name: str) -> Part:
    if parser.take("_"):
        name = f"{name}_{parser.index()}"
    return Node("symbol", name=f"\\{name}")


def _decorated(parser: Expressions, name: str) -> Part:
    inside = parser.index()
    if name in _EITHER_WAY and len(inside) == 2:
        inside = min(inside, inside[::-1])
    if parser.take("_"):
        inside += f"_{parser.index()}"
    return Node("symbol", name=f"{name} {inside}")


def _figure_of_points(parser: Expressions, name: str) -> Part:
    """`\\angle ABC`: the letters belong to the name; an angle may be read from either end."""
    points = ""
    while (token := parser.peek()) is not None and _is_point(token, points):
        points += parser.next().text
    if not points:
        raise Unreadable(f"\\{name} of nothing")
    return Node("symbol", name=f"{name} {min(points, points[::-1]) if name == 'angle' else points}")


def _is_point(token: Token, points: str) -> bool:
    if token.kind == "number":
        return not points
    return token.kind == "letter" or (token.text == "'" and bool(points))


def _function(parser: Expressions, name: str) -> Node:
    base = parser.argument() if name == "log" and parser.take("_") else Node.number(10)
    power = parser.argument() if parser.take("^") else None
    if power is not None and name in _INVERSE and _is_minus_one(power):
        name, power = _INVERSE[name], None
    if name in _OF_MANY:
        return Node(name, _arguments(parser))
    argument = _argument(parser)
    value = Node("log", (argument, base)) if name == "log" else Node("function", (argument,), name)
    return value if power is None else Node("pow", (value, power))


def _is_minus_one(node: Node) -> bool:
    inner = node.args[0].figure if node.op == "neg" else None
    return inner is not None and inner.value == 1


def _argument(parser: Expressions) -> Node:
    """`\\sin(x+1) y` takes the bracket, `\\sin 2x \\cos x` takes 2x."""
    if parser.take("-"):
        return Node("neg", (_argument(parser),))
    bracket = parser.sees("(", "{", "[")
    argument = parser.scalar_power()
    while not bracket and parser.starts_factor() and not _next_is_function(parser):
        argument = argument.joined("mul", parser.scalar_power())
    return argument


def _next_is_function(parser: Expressions) -> bool:
    token = parser.peek()
    return token is not None and token.kind == "command" and token.text in FUNCTIONS


def _arguments(parser: Expressions) -> tuple[Node, ...]:
    closing = {"(": ")", "\\{": "\\}"}.get(opening := parser.next().text)
    if closing is None:
        raise Unreadable(f"{opening!r} after the name of a function of several numbers")
    arguments = [parser.scalar_sum()]
    while parser.take(","):
        arguments.append(parser.scalar_sum())
    parser.expect(closing)
    return tuple(arguments)


def _fraction(parser: Expressions) -> Node:
    start = parser.at
    over = _digit_or_argument(parser)
    middle = parser.at
    under = _digit_or_argument(parser)
    if name := _derivative(parser.tokens[start:middle], parser.tokens[middle : parser.at]):
        return Node("symbol", name=name)
    return Node("div", (over, under))


def _derivative(over: list[Token], under: list[Token]) -> str | None:
    """The name of dy/dx, which is no fraction of d times y and d times x; None for a fraction."""
    above, below = ([token.text for token in part if token.text not in "{}"] for part in (over, under))
    if above[:1] == below[:1] and above[0] in ("d", "partial") and 2 <= len(below) <= 4 and below[1].isalpha():
        return f"{' '.join(above)} / {' '.join(below)}"
    return None


def _digit_or_argument(parser: Expressions) -> Node:
    """`\\frac12` is one half: without braces TeX takes one digit, or one letter or command."""
    token = parser.peek()
    if token is not None and token.kind == "number" and len(token.text) > 1 and token.text.isdecimal():
        first, rest = token.text[0], token.text[1:]
        parser.tokens[parser.at : parser.at + 1] = [replace_text(token, first), replace_text(token, rest)]
    return parser.argument()


def replace_text(token: Token, text: str) -> Token:
    return token._replace(text=text, spaced=False)


def _root(parser: Expressions) -> Node:
    degree = Node.number(2)
    if parser.take("["):
        degree = parser.inside("]")
    return Node("root", (parser.argument(), degree))


def _binomial(parser: Expressions) -> Node:
    return Node("binom", (_digit_or_argument(parser), _digit_or_argument(parser)))


def _blackboard(parser: Expressions) -> Node:
    return Node("symbol", name=f"mathbb {parser.index()}")


def _matrix(parser: Expressions) -> Part:
    name = parser.index()
    if name not in _MATRICES:
        raise Unreadable(f"the environment {name}")
    if name == "array":
        parser.index()  # how its columns are set
    rows, row = [], [parser.scalar_sum()]
    while not parser.take("end"):
        if parser.take("&"):
            row.append(parser.scalar_sum())
            continue
        parser.expect("\\")
        if not parser.sees("end"):
            rows.append(tuple(row))
            row = [parser.scalar_sum()]
    parser.index()
    rows.append(tuple(row))
    if len({len(row) for row in rows}) > 1:
        raise Unreadable("a matrix with rows of different lengths")
    return Matrix(tuple(rows))


_SPECIAL = {
    "frac": _fraction,
    "sqrt": _root,
    "binom": _binomial,
    "mathbb": _blackboard,
    "begin": _matrix,
    "pi": lambda parser: Node("constant", name="pi"),
    "infty": lambda parser: Node("constant", name="infty"),
    "emptyset": lambda parser: Node("symbol", name="emptyset"),
    "langle": lambda parser: parser.bracketed("langle"),
}
