r"""Sets of real numbers: intervals, unions, conditions such as "x < 2 or x > 3", set-builder notation.

>>> from cepo.answers.reading import read_answer
>>> same_set(real_set(read_answer(r"x<2, x>3")), real_set(read_answer(r"(-\infty,2) \cup (3,\infty)")))
True
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cmp_to_key, reduce
from typing import NamedTuple

from cepo.answers.tree import Group, Node, Quantity, Reading, Relation
from cepo.answers.values import is_number, less, same_value

__all__ = ["RealSet", "is_condition", "real_set", "same_set"]


class Piece(NamedTuple):
    """An interval; an end that is None is infinite, and open."""

    low: Node | None
    high: Node | None
    has_low: bool = False
    has_high: bool = False


@dataclass(frozen=True)
class RealSet:
    """Intervals from left to right that do not touch; `variable` is the x of "x < 2", None where none is named."""

    pieces: tuple[Piece, ...]
    variable: str | None = None


_ALL = RealSet((Piece(None, None),))
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def is_condition(reading: Reading) -> bool:
    """Whether a reading can be nothing but a set: an inequality, a union, the real numbers; (1, 2) may be a point."""
    if isinstance(reading, Quantity):
        return reading.node.name in ("emptyset", "mathbb R")
    if isinstance(reading, Group):
        return reading.open == "{|" or not reading.items or (not reading.open and any(map(is_condition, reading.items)))
    return isinstance(reading, Relation) and not all(op in "=~" for op in reading.ops)


def real_set(reading: Reading) -> RealSet | None:
    """The reading as a set of real numbers; None where it is none."""
    if isinstance(reading, Quantity):
        return _named_set(reading)
    if isinstance(reading, Group):
        return _group(reading)
    return _relation(reading) if isinstance(reading, Relation) else None


def same_set(ours: RealSet, gold: RealSet) -> bool:
    """Whether both hold the same numbers, of the same variable where both name one."""
    if ours.variable and gold.variable and ours.variable != gold.variable:
        return False
    return len(ours.pieces) == len(gold.pieces) and all(map(_same_piece, ours.pieces, gold.pieces))


def _same_piece(ours: Piece, gold: Piece) -> bool:
    ends = (ours.has_low, ours.has_high) == (gold.has_low, gold.has_high)
    return ends and _same_end(ours.low, gold.low) and _same_end(ours.high, gold.high)


def _same_end(ours: Node | None, gold: Node | None) -> bool:
    return ours is gold if ours is None or gold is None else same_value(ours, gold)


def _named_set(quantity: Quantity) -> RealSet | None:
    if quantity.node.name == "emptyset":
        return RealSet(())
    return _ALL if quantity.node.name == "mathbb R" else None


def _group(group: Group) -> RealSet | None:
    if group.open == "{|":
        found = _combine([_relation_or_none(item) for item in group.items], group.conjunction)
        return found if found is None or found.variable in (None, group.name) else None
    if group.open == "{":
        return _points(group)
    if not group.open:
        return _combine([_relation_or_none(item) for item in group.items], group.conjunction)
    return _interval(group)


def _relation_or_none(reading: Reading) -> RealSet | None:
    return _relation(reading) if isinstance(reading, Relation) else None


def _combine(sets: list[RealSet | None], conjunction: str) -> RealSet | None:
    """The union of "or" and of commas, the intersection of "and"."""
    found = [one for one in sets if one is not None]
    if len(found) < len(sets) or not found or len({one.variable for one in found} - {None}) > 1:
        return None
    return reduce(_intersection if conjunction == "and" else _union, found)


def _points(group: Group) -> RealSet | None:
    nodes = [item.node for item in group.items if isinstance(item, Quantity) and is_number(item.node)]
    if len(nodes) < len(group.items):
        return None
    return _sorted([Piece(node, node, True, True) for node in nodes], None)


def _interval(group: Group) -> RealSet | None:
    if len(group.items) != 2 or group.name:
        return None
    low, high = group.items
    if not (isinstance(low, Quantity) and isinstance(high, Quantity)) or low.unit or high.unit:
        return None
    return RealSet((_piece(low.node, high.node, group.open == "[", group.close == "]"),))


def _piece(low: Node | None, high: Node | None, has_low: bool, has_high: bool) -> Piece:
    low = None if low is not None and _is_infinite(low, negative=True) else low
    high = None if high is not None and _is_infinite(high, negative=False) else high
    return Piece(low, high, has_low and low is not None, has_high and high is not None)


def _is_infinite(node: Node, negative: bool) -> bool:
    if negative:
        return node.op == "neg" and _is_infinite(node.args[0], negative=False)
    return node.name == "infty"


def _relation(relation: Relation) -> RealSet | None:
    if relation.ops[0] in ("cup", "cap", "minus"):
        return _set_operation(relation)
    if relation.ops == ("in",):
        return _membership(relation)
    if not all(isinstance(side, Quantity) and side.unit is None for side in relation.sides):
        return None
    nodes = [side.node for side in relation.sides if isinstance(side, Quantity)]
    places = [place for place, node in enumerate(nodes) if node.op == "symbol"]
    if len(places) != 1 or not all(is_number(node) for node in nodes if node.op != "symbol"):
        return _symbolic(nodes, relation.ops)
    return _chain(nodes, list(relation.ops), places[0])


def _symbolic(nodes: list[Node], ops: tuple[str, ...]) -> RealSet | None:
    """a < x < b with letters for ends."""
    if len(nodes) != 3 or nodes[1].op != "symbol" or not all(op in ("<", "<=") for op in ops):
        return None
    return RealSet((_piece(nodes[0], nodes[2], ops[0] == "<=", ops[1] == "<="),), nodes[1].name)


def _chain(nodes: list[Node], ops: list[str], place: int) -> RealSet | None:
    """Conditions on one symbol: the number before it is to its left, those after to its right."""
    conditions = []
    if place == 1:
        conditions.append((_FLIPPED.get(ops[0], ops[0]), nodes[0]))
    if place + 1 < len(nodes):
        conditions.append((ops[place], nodes[place + 1]))
    if len(conditions) != len(ops):
        return None
    sets = [_condition(op, node) for op, node in conditions]
    found = _combine(sets, "and")
    return None if found is None else RealSet(found.pieces, nodes[place].name)


def _condition(op: str, node: Node) -> RealSet | None:
    if op in ("<", "<="):
        return RealSet((_piece(None, node, False, op == "<="),))
    if op in (">", ">="):
        return RealSet((_piece(node, None, op == ">=", False),))
    if op == "=":
        return RealSet((Piece(node, node, True, True),))
    return RealSet((Piece(None, node), Piece(node, None))) if op == "!=" else None


def _membership(relation: Relation) -> RealSet | None:
    element, container = relation.sides
    found = real_set(container)
    if found is None or not isinstance(element, Quantity) or element.node.op != "symbol":
        return None
    return RealSet(found.pieces, element.node.name)


def _set_operation(relation: Relation) -> RealSet | None:
    sets = [real_set(side) for side in relation.sides]
    total = sets[0]
    for op, other in zip(relation.ops, sets[1:], strict=True):
        if total is None or other is None:
            return None
        total = {"cup": _union, "cap": _intersection, "minus": _difference}[op](total, other)
    return total


def _union(a: RealSet, b: RealSet) -> RealSet:
    return _sorted([*a.pieces, *b.pieces], a.variable or b.variable)


def _sorted(pieces: list[Piece], variable: str | None) -> RealSet:
    """Pieces from left to right, with those that touch made one; as they stand where an end is no number."""
    if any(end is not None and not is_number(end) for piece in pieces for end in piece[:2]):
        return RealSet(tuple(pieces), variable)
    merged: list[Piece] = []
    for piece in sorted(pieces, key=cmp_to_key(_by_low)):
        if merged and _touch(merged[-1], piece):
            merged[-1] = _joined(merged[-1], piece)
        else:
            merged.append(piece)
    return RealSet(tuple(merged), variable)


def _by_low(a: Piece, b: Piece) -> int:
    if a.low is None or b.low is None:
        return (a.low is not None) - (b.low is not None)
    if less(a.low, b.low):
        return -1
    if less(b.low, a.low):
        return 1
    return b.has_low - a.has_low


def _touch(left: Piece, right: Piece) -> bool:
    if left.high is None or right.low is None:
        return True
    return bool(less(right.low, left.high)) or (not less(left.high, right.low) and (left.has_high or right.has_low))


def _joined(left: Piece, right: Piece) -> Piece:
    if left.high is None or right.high is None:
        return left._replace(high=None, has_high=False)
    if less(left.high, right.high):
        return left._replace(high=right.high, has_high=right.has_high)
    same = not less(right.high, left.high)
    return left._replace(has_high=left.has_high or (same and right.has_high))


def _intersection(a: RealSet, b: RealSet) -> RealSet:
    pieces = [piece for left in a.pieces for right in b.pieces if (piece := _overlap(left, right)) is not None]
    return _sorted(pieces, a.variable or b.variable)


def _overlap(a: Piece, b: Piece) -> Piece | None:
    low, has_low = _tighter((a.low, a.has_low), (b.low, b.has_low), upper=False)
    high, has_high = _tighter((a.high, a.has_high), (b.high, b.has_high), upper=True)
    if low is not None and high is not None:
        if less(high, low):
            return None
        if not less(low, high) and not (has_low and has_high):
            return None
    return Piece(low, high, has_low, has_high)


def _tighter(a: tuple[Node | None, bool], b: tuple[Node | None, bool], upper: bool) -> tuple[Node | None, bool]:
    (end, has_end), (other, has_other) = a, b
    if end is None or other is None:
        return b if end is None else a
    if less(end, other):
        return a if upper else b
    if less(other, end):
        return b if upper else a
    return end, has_end and has_other


def _difference(a: RealSet, b: RealSet) -> RealSet:
    low, has_low = None, False
    outside = []
    for piece in b.pieces:
        if piece.low is not None:
            outside.append(Piece(low, piece.low, has_low, not piece.has_low))
        low, has_low = piece.high, not piece.has_high
        if low is None:
            break
    else:
        outside.append(Piece(low, None, has_low, False))
    return _intersection(a, RealSet(tuple(outside)))
