"""Whether two quantities are the same: their units may stand for one another, and their values are equal."""

from __future__ import annotations

from cepo.answers.tree import Node, Quantity
from cepo.answers.units import compatible_units
from cepo.answers.values import same_value

__all__ = ["same_quantity"]


def same_quantity(ours: Quantity, gold: Quantity) -> bool:
    """Whether `ours` answers as `gold` does; a missing unit is forgiven, a wrong one is not.

    Degrees are turned into radians where the other side is in radians: it says so, or is a multiple of pi.
    """
    if _in_degrees(ours) != _in_degrees(gold) and _in_radians(gold if _in_degrees(ours) else ours):
        return same_value(_radians(ours), _radians(gold))
    return compatible_units(ours.unit, gold.unit) and same_value(ours.node, gold.node)


def _in_degrees(quantity: Quantity) -> bool:
    return quantity.unit is not None and quantity.unit.powers == {"°": 1} and not quantity.unit.nouns


def _in_radians(quantity: Quantity) -> bool:
    if quantity.unit is not None:
        return quantity.unit.powers == {"rad": 1}
    return any(node.op == "constant" and node.name == "pi" for node in quantity.node.walk())


def _radians(quantity: Quantity) -> Node:
    return Node("degrees", (quantity.node,)) if _in_degrees(quantity) else quantity.node
