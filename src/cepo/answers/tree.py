"""What an answer is read as: expressions, and the tuples, sets, lists and relations made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from cepo.answers.figures import Figure
from cepo.answers.units import Unit

__all__ = [
    "Group",
    "Matrix",
    "Node",
    "Part",
    "Quantity",
    "Reading",
    "Relation",
    "TooDeep",
    "Unreadable",
    "expand_signs",
]


class Unreadable(Exception):
    """The text is not in the language that this grader reads; it may still be mathematics."""


class TooDeep(Exception):
    """The text is nested more deeply than any answer is."""


@dataclass(frozen=True)
class Node:
    r"""An expression: an operation on expressions, or a leaf.

    Leaves are `figure` (with `figure` set) and `symbol`, `constant` and `opaque` (with `name` set; an opaque
    function keeps its arguments, and nothing is known of it but that equal arguments give equal values).
    """

    op: str
    args: tuple[Node, ...] = ()
    name: str = ""
    figure: Figure | None = None

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        yield self
        for arg in self.args:
            yield from arg.walk()

    def symbols(self) -> set[str]:
        """The names whose values are not known."""
        return {node.name for node in self.walk() if node.op in ("symbol", "opaque")}

    def joined(self, op: str, other: Node) -> Node:
        """The sum or product with one more operand, in one flat node: nesting would exhaust Python's stack."""
        return Node(op, (*self.args, other)) if self.op == op else Node(op, (self, other))

    @classmethod
    def number(cls, value: int | Fraction) -> Node:
        return cls("figure", figure=Figure(Fraction(value)))


@dataclass(frozen=True)
class Quantity:
    """An expression with its unit; `unit` None where none is written."""

    node: Node
    unit: Unit | None = None


@dataclass(frozen=True)
class Group:
    """Several answers in brackets, "" for none: `(1, 2)`, `{1, 2}`, `1, 2`; `name` is the A of A(1, 2)."""

    open: str
    close: str
    items: tuple[Reading, ...]
    conjunction: str = ","
    name: str = ""


@dataclass(frozen=True)
class Matrix:
    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True)
class Relation:
    r"""`sides[0] ops[0] sides[1] ops[1] ...`; an op is one of = ~ != < <= > >= in, or `cup`, `minus` of sets."""

    sides: tuple[Reading, ...]
    ops: tuple[str, ...]


Reading = Quantity | Group | Matrix | Relation
Part = Node | Group | Matrix
"""What the expression parser returns: only a Node can be calculated with."""


def expand_signs(reading: Reading) -> list[Reading]:
    r"""Both readings of `\pm`, upper signs first; the reading alone where it has none."""
    if not _has_signs(reading):
        return [reading]
    return [_choose(reading, upper=True), _choose(reading, upper=False)]


def _has_signs(reading: Reading | Node) -> bool:
    if isinstance(reading, Node):
        return any(node.op == "pm" for node in reading.walk())
    if isinstance(reading, Quantity):
        return _has_signs(reading.node)
    return isinstance(reading, Relation) and any(map(_has_signs, reading.sides))


def _choose(reading: Reading, upper: bool) -> Reading:
    if isinstance(reading, Quantity):
        return replace(reading, node=_signed(reading.node, upper))
    if isinstance(reading, Relation):
        return replace(reading, sides=tuple(_choose(side, upper) for side in reading.sides))
    return reading


def _signed(node: Node, upper: bool) -> Node:
    args = tuple(_signed(arg, upper) for arg in node.args)
    if node.op != "pm":
        return replace(node, args=args)
    return args[0] if (node.name == "pm") == upper else Node("neg", args)
