"""Families about angles: triangle sums, isosceles triangles, exterior angles, parallel lines, circles."""

from __future__ import annotations

import math
from random import Random

from cepo.geometry.canvas import Canvas
from cepo.geometry.worked import Draft

__all__ = ["circle_angles", "exterior_angle", "isosceles", "parallel_lines", "triangle_sum"]


def triangle_sum(rng: Random) -> Draft:
    """Two angles of a triangle are marked; find the third."""
    a = rng.randint(25, 95)
    b = rng.randint(25, min(95, 155 - a))
    canvas = Canvas(mirrored=rng.random() < 0.5)
    apex = rng.uniform(3.2, 4.8)
    canvas.polygon((0.4, 7.4), (7.6, 7.4), (apex, 0.4))
    spots = [(2.0, 6.5), (6.0, 6.5), (apex, 2.5)]
    rng.shuffle(spots)
    for text, (x, y) in zip((str(a), str(b), "?"), spots, strict=True):
        canvas.label(text, x, y)
    opening = rng.choice(["The angles of a triangle sum to", "In a triangle the angles add up to"])

    def solve(values: tuple[int, ...], rule: str, slip: int) -> tuple[str, int]:
        first, second = values
        total = int(rule)
        answer = total - first - second + slip
        return (
            f"{opening} [{total}]. [{first}+{second}]=[{first + second}]. [{total}-{first + second}]=[{answer}].",
            answer,
        )

    question = rng.choice(["Find the angle marked ? in the triangle.", "What is the third angle of the triangle?"])
    return Draft("triangle_sum", question, (a, b), ("180", "360"), "sum", canvas, solve)


def isosceles(rng: Random) -> Draft:
    """An isosceles triangle with its apex or its base angle marked; find the other."""
    base = rng.randint(28, 80)
    apex = 180 - 2 * base
    find_apex = rng.random() < 0.5
    canvas = Canvas(mirrored=rng.random() < 0.5)
    height = rng.uniform(0.3, 0.9)
    left, right, top = (0.6, 7.4), (7.4, 7.4), (4.0, height)
    canvas.polygon(left, right, top)
    canvas.tick(left, top)
    canvas.tick(right, top)
    canvas.label("?" if find_apex else str(apex), 4.0, 2.5 if apex < 100 else 3.5)
    canvas.label(str(base) if find_apex else "?", 2.0, 6.5)
    opening = rng.choice(["The base angles are equal.", "Two sides are equal, so the base angles are equal."])

    def solve(values: tuple[int, ...], rule: str, slip: int) -> tuple[str, int]:
        (given,) = values
        if rule == "double":
            return (
                f"{opening} [2*{given}]=[{2 * given}]. [180-{2 * given}]=[{180 - 2 * given + slip}].",
                180 - 2 * given + slip,
            )
        rest = 180 - given
        if rule == "halve":
            return f"{opening} [180-{given}]=[{rest}]. [{rest}/2]=[{rest // 2 + slip}].", rest // 2 + slip
        return f"{opening} [180-{given}]=[{rest + slip}].", rest + slip

    question = rng.choice(
        [
            "The marked sides are equal. Find the angle marked ?.",
            "Find the angle marked ? in the isosceles triangle.",
        ]
    )
    rules = ("double", "once", "halve") if find_apex else ("halve", "once", "double")
    variant = "apex" if find_apex else "base"
    return Draft("isosceles", question, (base if find_apex else apex,), rules, variant, canvas, solve)


def exterior_angle(rng: Random) -> Draft:
    """A side of a triangle is extended; relate the exterior angle to the two remote interior ones."""
    a, b = rng.randint(25, 75), rng.randint(25, 75)
    find_exterior = rng.random() < 0.5
    canvas = Canvas(mirrored=rng.random() < 0.5)
    apex = rng.uniform(2.6, 3.4)
    canvas.polygon((0.3, 6.8), (5.4, 6.8), (apex, 0.3))
    canvas.line((5.4, 6.8), (7.9, 6.8))
    canvas.label(str(a), 1.9, 6.0)
    canvas.label("?" if not find_exterior else str(b), apex, 2.5)
    canvas.label("?" if find_exterior else str(a + b), 6.8, 5.6)
    opening = rng.choice(
        [
            "The exterior angle equals the sum of the remote interior angles.",
            "The two remote angles add up to the exterior angle.",
        ]
    )

    def solve(values: tuple[int, ...], rule: str, slip: int) -> tuple[str, int]:
        first, second = values
        if rule == "add":
            return f"{opening} [{first}+{second}]=[{first + second + slip}].", first + second + slip
        if rule == "subtract":
            return f"{opening} [{second}-{first}]=[{second - first + slip}].", second - first + slip
        rest = 180 - first - second + slip
        return f"{opening} [{first}+{second}]=[{first + second}]. [180-{first + second}]=[{rest}].", rest

    question = rng.choice(
        [
            "One side is extended. Find the angle marked ?.",
            "Find the angle marked ? at the triangle with an extended side.",
        ]
    )
    values = (a, b) if find_exterior else (a, a + b)
    rules = ("add", "supplement") if find_exterior else ("subtract", "add")
    return Draft("exterior_angle", question, values, rules, "outer" if find_exterior else "inner", canvas, solve)


def parallel_lines(rng: Random) -> Draft:
    """Two parallel lines and a transversal: the marked angles are equal or add up to 180."""
    acute = rng.randint(35, 85)
    canvas = Canvas(mirrored=rng.random() < 0.5)
    top, bottom = (4.78, 2.1), (3.14, 6.1)
    for _, y in (top, bottom):
        canvas.line((0.2, y), (7.8, y))
    canvas.line((5.6, 0.1), (2.4, 7.9))
    # The transversal leans to the right: above-right and below-left of a crossing are the acute angles.
    corners = {
        "NE": (2.2, -0.6, (0, 68)),
        "NW": (-2.1, -0.6, (68, 180)),
        "SW": (-2.6, 1.4, (180, 248)),
        "SE": (1.6, 1.4, (248, 360)),
    }
    upper, lower = rng.choice(sorted(corners)), rng.choice(sorted(corners))
    equal = (upper in ("NE", "SW")) == (lower in ("NE", "SW"))
    given = acute if upper in ("NE", "SW") else 180 - acute
    texts = [str(given), "?"]
    for text, (x, y), corner in zip(texts, (top, bottom), (upper, lower), strict=True):
        dx, dy, (start, stop) = corners[corner]
        canvas.arc((x, y), 0.55, start, stop)
        canvas.label(text, x + dx, y + dy)

    def solve(values: tuple[int, ...], rule: str, slip: int) -> tuple[str, int]:
        (angle,) = values
        if rule == "equal":
            return f"On parallel lines these angles are [equal]. The angle is [{angle + slip}].", angle + slip
        rest = 180 - angle + slip
        return f"On parallel lines these angles [add up to 180]. [180-{angle}]=[{rest}].", rest

    question = rng.choice(
        [
            "The two horizontal lines are parallel. Find the angle marked ?.",
            "Find the angle marked ? between the parallel lines.",
        ]
    )
    rules = ("equal", "supplement") if equal else ("supplement", "equal")
    return Draft("parallel_lines", question, (given,), rules, rules[0], canvas, solve)


def circle_angles(rng: Random) -> Draft:
    """A central and an inscribed angle over the same arc; one is marked, find the other."""
    inscribed = rng.randint(20, 80)
    find_central = rng.random() < 0.5
    canvas = Canvas(mirrored=rng.random() < 0.5)
    centre, radius = (4.0, 4.0), 3.7
    spread = math.radians(rng.uniform(52, 62))
    ends = [(4.0 + side * radius * math.sin(spread), 4.0 + radius * math.cos(spread)) for side in (-1, 1)]
    top = (4.0 + rng.uniform(-0.6, 0.6), 0.35)
    canvas.arc(centre, radius)
    for end in ends:
        canvas.line(centre, end)
        canvas.line(top, end)
    canvas.arc(centre, 0.12)
    canvas.label("?" if find_central else str(2 * inscribed), 4.0, 5.5)
    canvas.label(str(inscribed) if find_central else "?", top[0], 2.5)
    opening = rng.choice(
        [
            "The angle at the centre is [twice] the angle at the circle.",
            "Over the same arc the central angle is [double] the inscribed angle.",
        ]
    )

    def solve(values: tuple[int, ...], rule: str, slip: int) -> tuple[str, int]:
        (given,) = values
        answer = (2 * given if rule == "double" else given // 2) + slip
        return (
            f"{opening} [{'2*' + str(given) if rule == 'double' else str(given) + '/2'}]=[{answer}].",
            answer,
        )

    question = rng.choice(
        [
            "The dot is the centre of the circle. Find the angle marked ?.",
            "Find the angle marked ? in the circle.",
        ]
    )
    rules = ("double", "halve") if find_central else ("halve", "double")
    value = inscribed if find_central else 2 * inscribed
    return Draft("circle_angles", question, (value,), rules, "central" if find_central else "inscribed", canvas, solve)
