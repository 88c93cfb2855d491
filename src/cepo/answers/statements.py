r"""Equations and labels: which "=" names a value, which computes one, and which is an equation to be kept.

`x = 5` and `|A| = 18` name a value, `61+3 = 64` computes one, `x^2 = 9` and `x + y = 3` are equations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from cepo.answers.figures import Figure
from cepo.answers.quantities import same_quantity
from cepo.answers.tree import Group, Node, Quantity, Reading, Relation
from cepo.answers.values import constant_ratio, figure_of, is_number, same_value

__all__ = ["Named", "named_value", "same_equation"]


@dataclass(frozen=True)
class Named:
    """A value and its name; the sides of a computation are several ways to write the one value."""

    name: Reading | None
    ways: tuple[Reading, ...]


def named_value(reading: Reading, *, of_expressions: bool) -> Named:
    """The value that a reading states; the reading itself, unnamed, where it names and computes nothing.

    `of_expressions` takes a + b = 18 as the value of a + b. That is what a model's answer says; a gold answer
    that says so may be the equation of a line.
    """
    if isinstance(reading, Group) and reading.name and reading.open != "{|":
        return Named(Quantity(Node("symbol", name=reading.name)), (replace(reading, name=""),))
    if not isinstance(reading, Relation) or not all(op in "=~" for op in reading.ops):
        return Named(None, (reading,))
    sides = _without_approximations(reading)
    if not _is_name(sides[0]) and _is_name(sides[-1]):
        sides = sides[::-1]
    name, rest = None, sides
    if _is_name(sides[0]) or (of_expressions and _is_expression(sides[0]) and all(map(_is_numeric, sides[1:]))):
        name, rest = sides[0], sides[1:]
    while name is not None and len(rest) > 1 and _is_name(rest[0]):
        rest = rest[1:]  # a = b = 18
    if not rest or not _agree(rest) or _defines_itself(name, rest):
        return Named(None, (reading,))
    return Named(name, _with_unit(rest))


def _defines_itself(name: Reading | None, rest: list[Reading]) -> bool:
    """x = x + 1 says what x does, not what it is."""
    if not isinstance(name, Quantity):
        return False
    return any(isinstance(side, Quantity) and name.node.name in side.node.symbols() for side in rest)


def _without_approximations(relation: Relation) -> list[Reading]:
    r"""`3\pi \approx 9.42` says 3\pi; in `x \approx 9.42` the left side is a name, and there is nothing else."""
    sides, ops = list(relation.sides), list(relation.ops)
    while ops and ops[-1] == "~" and (len(sides) > 2 or not _is_name(sides[0])):
        if not _is_near(sides[-1], sides[-2]):
            break
        sides.pop()
        ops.pop()
    return sides


def _is_near(rounded: Reading, exact: Reading) -> bool:
    """Whether one number may be given for another: it is a twentieth off at most, or one in its last decimal."""
    if not (isinstance(rounded, Quantity) and isinstance(exact, Quantity) and _is_numeric(rounded)):
        return False
    figure = figure_of(rounded.node)
    if figure is None or not _is_numeric(exact):
        return False
    decimal = Fraction(1, 10**figure.decimals) if figure.decimals else Fraction(0)
    wide = Node("figure", figure=Figure(figure.value, max(abs(figure.value) / 20, decimal)))
    return same_value(exact.node, wide)


def _is_numeric(side: Reading) -> bool:
    return isinstance(side, Quantity) and is_number(side.node)


def _is_name(side: Reading) -> bool:
    if isinstance(side, Group):
        return side.open == "(" and len(side.items) > 1 and all(map(_is_name, side.items))
    return isinstance(side, Quantity) and side.unit is None and _names(side.node)


def _names(node: Node) -> bool:
    if node.op in ("symbol", "opaque"):
        return True
    if node.op == "abs":
        return node.args[0].op == "symbol" and node.args[0].name[:1].isupper()  # |A| counts, |x| = 3 is to be solved
    return node.op == "mul" and all(arg.op in ("symbol", "mul") and _is_points(arg) for arg in node.args)


def _is_points(node: Node) -> bool:
    """AB and ABCD: products of capital letters are segments and the like."""
    return all(part.op == "mul" or (part.op == "symbol" and part.name[:1].isupper()) for part in node.walk())


def _is_expression(side: Reading) -> bool:
    """Whether a side is an expression to be evaluated, not an equation's for one unknown: a + b, sin A."""
    if not isinstance(side, Quantity) or side.node.op == "figure":
        return False
    names = side.node.symbols()
    return len(names) > 1 or any(name[:1].isupper() or name[:1] == "\\" or "angle" in name for name in names)


def _agree(sides: list[Reading]) -> bool:
    """Whether the sides of a chain of equalities are equal: 61 + 3 = 64 is, 1 = 2 is not."""
    if len(sides) == 1:
        return True
    quantities = [side for side in sides if isinstance(side, Quantity)]
    if len(quantities) < len(sides):
        return False
    first = quantities[0]
    return all(_equal_as_written(first, other) for other in quantities[1:])


def _equal_as_written(a: Quantity, b: Quantity) -> bool:
    percent = [quantity.unit is not None and quantity.unit.powers == {"%": 1} for quantity in (a, b)]
    if percent[0] != percent[1] and _same_share(a, b, percent[0]):
        return True
    return same_quantity(a, b) or same_quantity(b, a)


def _same_share(a: Quantity, b: Quantity, first: bool) -> bool:
    """0.56 = 56%: within one statement a per cent is a hundredth."""
    share, plain = (a, b) if first else (b, a)
    return plain.unit is None and same_value(Node("div", (share.node, Node.number(100))), plain.node)


def _with_unit(sides: list[Reading]) -> tuple[Reading, ...]:
    """Each way to write the value, with the unit that one of them has: 3 + 2 = 5 cm is no 5 m.

    A decimal that may be rounded is left out where an exact way stands beside it.
    """
    unit = next((side.unit for side in reversed(sides) if isinstance(side, Quantity) and side.unit), None)
    ways = []
    for side in sides:
        if isinstance(side, Quantity) and len(sides) > 1:
            figure = figure_of(side.node) if is_number(side.node) else None
            if figure is not None and figure.rounding and side is not sides[0]:
                continue
            if side.unit is None and unit is not None and unit.powers != {"%": 1}:
                side = replace(side, unit=unit)
        ways.append(side)
    return tuple(ways or sides)


def same_equation(ours: Relation, gold: Relation) -> bool:
    """Whether two equations or inequalities are one up to a constant factor.

    Without a variable there is nothing to solve, so that 1 = 2 and 3 = 4 are not the same.
    """
    mine, theirs = _difference(ours), _difference(gold)
    if mine is None or theirs is None or mine[0] != theirs[0]:
        return False
    op, ours_node, gold_node = mine[0], mine[1], theirs[1]
    if not (ours_node.symbols() and ours_node.symbols() == gold_node.symbols()):
        return False
    sign = constant_ratio(ours_node, gold_node)
    return sign is not None and (sign > 0 or op in ("=", "!="))


def _difference(relation: Relation) -> tuple[str, Node] | None:
    """The relation as "difference op 0", with > and >= turned round; None for chains and for sets."""
    if len(relation.ops) != 1 or relation.ops[0] not in ("=", "!=", "<", "<=", ">", ">="):
        return None
    left, right = relation.sides
    if not (isinstance(left, Quantity) and isinstance(right, Quantity)) or left.unit or right.unit:
        return None
    op = relation.ops[0]
    if op in (">", ">="):
        left, right, op = right, left, {">": "<", ">=": "<="}[op]
    return op, Node("add", (left.node, Node("neg", (right.node,))))
