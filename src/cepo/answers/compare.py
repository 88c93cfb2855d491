r"""Whether two readings answer alike: part by part, by what kind of answer each is.

>>> from cepo.answers.reading import read_answer
>>> same_reading(read_answer("x=2, x=3"), read_answer("3, 2"))
True
"""

from __future__ import annotations

import re
from dataclasses import replace

from cepo.answers.quantities import same_quantity
from cepo.answers.reals import is_condition, real_set, same_set
from cepo.answers.statements import Named, named_value, same_equation
from cepo.answers.tree import Group, Matrix, Node, Quantity, Reading, Relation, expand_signs
from cepo.answers.values import is_number

__all__ = ["same_reading"]

MAX_ITEMS = 64


def same_reading(ours: Reading, gold: Reading) -> bool:
    """Whether `ours` answers as `gold` does."""
    ours, gold = _listed(ours), _listed(gold)
    if is_condition(ours) or is_condition(gold):
        return _same_condition(ours, gold)
    mine, theirs = named_value(ours, of_expressions=True), named_value(gold, of_expressions=False)
    if mine.name is not None and theirs.name is not None and not _same_name(mine.name, theirs.name):
        return _both_equations(ours, gold) and same_equation(ours, gold)  # type: ignore[arg-type]
    if any(_same_value(way, other) for way in _values(mine) for other in _values(theirs)):
        return True
    return _both_equations(ours, gold) and not _is_solved(theirs) and same_equation(ours, gold)  # type: ignore[arg-type]


def _both_equations(ours: Reading, gold: Reading) -> bool:
    return isinstance(ours, Relation) and isinstance(gold, Relation)


def _is_solved(named: Named) -> bool:
    """x = 5 says what x is; 2x = 10 leaves it to be found and is not the same answer."""
    return any(isinstance(way, Quantity) and is_number(way.node) for way in named.ways) and named.name is not None


def _same_name(ours: Reading, gold: Reading) -> bool:
    if isinstance(ours, Quantity) and isinstance(gold, Quantity):
        return _bare_name(ours.node) == _bare_name(gold.node) or same_quantity(ours, gold)
    return ours == gold


def _bare_name(node: Node) -> str:
    """A name that came with words or an index: "the area" and "area" differ, \\text{Area} and Area do not."""
    return node.name if node.op == "symbol" else repr(node)


def _values(named: Named) -> list[Reading]:
    """The ways to write a value; the coordinates of (y, x) = (1, 2) in the order of their names."""
    if not isinstance(named.name, Group):
        return list(named.ways)
    return [_by_name(named.name, way) for way in named.ways if isinstance(way, Group)]


def _by_name(names: Group, way: Group) -> Reading:
    if len(names.items) != len(way.items):
        return way
    pairs = sorted(zip(map(_name_of, names.items), range(len(way.items)), strict=True))
    return replace(way, items=tuple(way.items[place] for _, place in pairs))


def _name_of(side: Reading) -> str:
    return side.node.name if isinstance(side, Quantity) else ""


def _listed(reading: Reading) -> Reading:
    r"""The reading with \pm written out as two, and with the name taken off a list: x = 1, 2 is 1, 2."""
    if isinstance(reading, Group) and not reading.open:
        items = [one for item in reading.items for one in expand_signs(item)]
        return _said_twice(_unnamed_list(replace(reading, items=_without_domains(items))))
    if isinstance(reading, Relation) and reading.ops == ("in",) and _is_finite_set(reading.sides[1]):
        return reading.sides[1]
    both = expand_signs(reading)
    return both[0] if len(both) == 1 else Group("", "", tuple(both), "or")


def _without_domains(items: list[Reading]) -> tuple[Reading, ...]:
    r"""Items without x \in \mathbb{R} among other conditions, which says nothing new."""
    real = Quantity(Node("symbol", name="mathbb R"))
    left = [
        item for item in items if not (isinstance(item, Relation) and item.ops == ("in",) and item.sides[1] == real)
    ]
    return tuple(left or items)


def _said_twice(group: Group) -> Reading:
    """7/2 or 3.5 is one answer; of a single item no list is left."""
    first, *rest = group.items
    if not rest or (group.conjunction == "or" and all(same_reading(first, other) for other in rest)):
        return first
    return group


def _is_finite_set(reading: Reading) -> bool:
    return isinstance(reading, Group) and reading.open == "{" and len(reading.items) > 0


def _unnamed_list(group: Group) -> Group:
    first, *rest = group.items
    if any(isinstance(item, Relation) for item in rest) or not isinstance(first, Relation):
        return group
    if first.ops == ("=",) and isinstance(first.sides[0], Quantity | Group) and len(first.sides) == 2:
        name = named_value(first, of_expressions=False).name
        if name == first.sides[0]:
            return replace(group, items=(first.sides[1], *rest))
    return group


def _same_condition(ours: Reading, gold: Reading) -> bool:
    mine, theirs = real_set(ours), real_set(gold)
    if mine is not None and theirs is not None:
        return same_set(mine, theirs)
    if mine is not None or theirs is not None:
        return False  # x < 3 is solved, 2x < 6 is not
    if isinstance(ours, Relation) and isinstance(gold, Relation):
        return _same_relation(ours, gold)
    if isinstance(ours, Group) and isinstance(gold, Group) and ours.open == gold.open:
        return ours.conjunction == gold.conjunction and _same_items(ours, gold)
    return False


def _same_relation(ours: Relation, gold: Relation) -> bool:
    if same_equation(ours, gold):
        return True
    return ours.ops == gold.ops and all(map(_same_value, ours.sides, gold.sides))


def _same_value(ours: Reading, gold: Reading) -> bool:
    """Values without names."""
    if isinstance(ours, Matrix) and isinstance(gold, Matrix):
        return _same_matrix(ours, gold)
    ours, gold = _vector(ours), _vector(gold)
    if isinstance(ours, Quantity) and isinstance(gold, Quantity):
        return same_quantity(ours, gold)
    if isinstance(ours, Group) and isinstance(gold, Group) and _same_group(ours, gold):
        return True
    return _same_single(ours, gold) or _same_single(gold, ours, turned=True)


def _vector(reading: Reading) -> Reading:
    """A column is a tuple; a row that is written as a matrix stays one, for it is no column."""
    if isinstance(reading, Matrix) and all(len(row) == 1 for row in reading.rows):
        return Group("(", ")", tuple(Quantity(row[0]) for row in reading.rows))
    return reading


def _same_single(group: Reading, other: Reading, turned: bool = False) -> bool:
    r"""\{5\} is 5; a row vector is a tuple."""
    if isinstance(group, Matrix) and len(group.rows) == 1 and isinstance(other, Group) and other.open == "(":
        group = Group("(", ")", tuple(map(Quantity, group.rows[0])))
        return _in_order(other, group) if turned else _in_order(group, other)
    if not isinstance(group, Group) or group.open != "{" or len(group.items) != 1:
        return False
    if isinstance(other, Matrix) or (isinstance(other, Group) and other.open != "("):
        return False
    return same_reading(other, group.items[0]) if turned else same_reading(group.items[0], other)


def _same_matrix(ours: Matrix, gold: Matrix) -> bool:
    if [len(row) for row in ours.rows] != [len(row) for row in gold.rows]:
        return False
    pairs = zip(sum(ours.rows, ()), sum(gold.rows, ()), strict=True)
    return all(same_quantity(Quantity(a), Quantity(b)) for a, b in pairs)


def _same_group(ours: Group, gold: Group) -> bool:
    if ours.name and gold.name and ours.name != gold.name:
        return False
    if _is_loose(ours) and _is_loose(gold):
        return _same_loose(ours, gold)
    if ours.open and gold.open:
        return (ours.open, ours.close) == (gold.open, gold.close) and _in_order(ours, gold)
    tuple_, other = (ours, gold) if ours.open else (gold, ours)
    if (tuple_.open, tuple_.close) != ("(", ")"):
        return False
    labels = _labels(other)
    if labels is not None and len(set(labels)) < len(labels):
        return False  # x = 1 or x = 2 are two solutions, not one point
    ordered = _by_labels(other)
    return _in_order(tuple_, ordered) if tuple_ is ours else _in_order(ordered, tuple_)


def _is_loose(group: Group) -> bool:
    return group.open in ("", "{")


def _same_loose(ours: Group, gold: Group) -> bool:
    """Lists and sets, in any order; where one side alone has labels, its labels give the order."""
    mine, theirs = _labels(ours), _labels(gold)
    if (mine is None and theirs is None) or mine == theirs or (mine is not None and theirs is not None):
        return _same_items(ours, gold) or (_numbered(mine) and _numbered(theirs) and _bare_items(ours, gold))
    if theirs is not None and not _numbered(theirs):
        return _in_order(ours, _by_labels(gold))  # the gold answer says which is which
    return _bare_items(ours, gold)


def _bare_items(ours: Group, gold: Group) -> bool:
    return _same_items(_without_labels(ours), _without_labels(gold))


def _labels(group: Group) -> list[str] | None:
    """The labels of a list in which each item has one, such as x = 1, y = 2, sorted; None where one has none."""
    labels = []
    for item in group.items:
        named = named_value(item, of_expressions=False) if isinstance(item, Relation) else Named(None, ())
        if not isinstance(named.name, Quantity):
            return None
        labels.append(named.name.node.name or repr(named.name.node))
    return sorted(labels)


def _numbered(labels: list[str] | None) -> bool:
    """Whether labels tell solutions of one unknown apart: x or x, x_1 and x_2; not x and y."""
    return labels is None or len({re.sub("_.*|'+$", "", label) for label in labels}) == 1


def _without_labels(group: Group) -> Group:
    if _labels(group) is None:
        return group
    return replace(group, items=tuple(named_value(item, of_expressions=False).ways[-1] for item in group.items))


def _by_labels(group: Group) -> Group:
    """The values of a labelled list, by label; an unlabelled list as it stands."""
    if _labels(group) is None:
        return group
    named = [named_value(item, of_expressions=False) for item in group.items]
    pairs = sorted((_name_of(one.name), place) for place, one in enumerate(named) if one.name is not None)
    return replace(group, items=tuple(named[place].ways[-1] for _, place in pairs))


def _in_order(ours: Group, gold: Group) -> bool:
    return len(ours.items) == len(gold.items) and all(map(same_reading, ours.items, gold.items))


def _same_items(ours: Group, gold: Group) -> bool:
    """Whether the items match one to one, in any order."""
    if len(ours.items) != len(gold.items) or len(gold.items) > MAX_ITEMS:
        return False
    left = list(gold.items)
    for item in ours.items:
        match = next((place for place, other in enumerate(left) if same_reading(item, other)), None)
        if match is None:
            return False
        del left[match]
    return True
