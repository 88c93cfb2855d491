"""Families about lengths and areas: parallelograms with algebra, Pythagoras, rectangles, triangles, similarity."""

from __future__ import annotations

from random import Random

from cepo.geometry.canvas import Canvas
from cepo.geometry.worked import Draft

__all__ = ["parallelogram", "pythagoras", "rectangle", "similar_triangles", "triangle_area"]


def parallelogram(rng: Random) -> Draft:
    """Opposite sides are x+a and bx-c; solve for x."""
    x, factor = rng.randint(3, 15), rng.randint(3, 5)
    constant = rng.randint(1, (factor - 1) * x - 1)
    while not (constant < 30 and (factor - 1) * x - constant < 30):
        x, factor = rng.randint(3, 15), rng.randint(3, 5)
        constant = rng.randint(1, (factor - 1) * x - 1)
    added = (factor - 1) * x - constant
    canvas = Canvas(mirrored=rng.random() < 0.5)
    lean = rng.uniform(0.8, 1.8)
    canvas.polygon((0.3 + lean, 2.2), (7.7, 2.2), (7.7 - lean, 5.8), (0.3, 5.8))
    sides = [f"x+{added}", f"{factor}x-{constant}"]
    rng.shuffle(sides)
    canvas.label(sides[0], 4.4, 1.5)
    canvas.label(sides[1], 3.6, 6.5)
    opening = rng.choice(
        [
            "Opposite sides of a parallelogram are equal.",
            "In a parallelogram opposite sides have equal length.",
        ]
    )

    def solve(values: tuple[int, ...], rule: str, slip: int) -> tuple[str, int]:
        plus, times, minus = values
        total = plus + minus if rule == "add" else abs(plus - minus)
        answer = total // (times - 1) + slip
        return f"{opening} [x+{plus}]=[{times}x-{minus}]. [{times - 1}x]=[{total}]. [x]=[{answer}].", answer

    question = rng.choice(["The figure is a parallelogram. Find x.", "What is x in the parallelogram?"])
    return Draft("parallelogram", question, (added, factor, constant), ("add", "difference"), "algebra", canvas, solve)


def pythagoras(rng: Random) -> Draft:
    """Two sides of a right triangle are marked; find the square of the third."""
    small, large = sorted(rng.sample(range(2, 16), 2))
    find_hypotenuse = rng.random() < 0.5
    canvas = Canvas(mirrored=rng.random() < 0.5)
    corner, foot, top = (1.9, 6.3), (7.6, 6.3), (1.9, 0.6)
    canvas.polygon(corner, foot, top)
    canvas.line((2.4, 6.3), (2.4, 5.8), (1.9, 5.8))
    legs = [str(small), str(large) if find_hypotenuse else "?"]
    rng.shuffle(legs)
    canvas.label(legs[0], 0.9, 3.5)
    canvas.label(legs[1], 4.5, 7.4)
    canvas.label("?" if find_hypotenuse else str(large), 5.9, 2.5)
    opening = rng.choice(
        ["By Pythagoras the squares of the legs [add up to] the square of the long side.", "Use Pythagoras."]
    )

    def solve(values: tuple[int, ...], rule: str, slip: int) -> tuple[str, int]:
        one, two = values
        if rule == "add":
            answer = one**2 + two**2 + slip
            return f"{opening} [{one}^2+{two}^2]=[{one**2}+{two**2}]=[{answer}].", answer
        answer = two**2 - one**2 + slip
        return f"{opening} [{two}^2-{one}^2]=[{two**2}-{one**2}]=[{answer}].", answer

    question = rng.choice(
        [
            "Find the square of the side marked ? in the right triangle.",
            "What is the square of the length marked ?, by Pythagoras?",
        ]
    )
    rules = ("add", "subtract") if find_hypotenuse else ("subtract", "add")
    return Draft("pythagoras", question, (small, large), rules, "long" if find_hypotenuse else "leg", canvas, solve)


def rectangle(rng: Random) -> Draft:
    """The sides of a rectangle are marked; find its area or its perimeter."""
    width, height = rng.randint(5, 25), rng.randint(3, 12)
    area = rng.random() < 0.5
    canvas = Canvas(mirrored=rng.random() < 0.5)
    canvas.polygon((0.4, 1.0), (5.6, 1.0), (5.6, 5.7), (0.4, 5.7))
    canvas.label(str(width), 3.0, 6.5)
    canvas.label(str(height), 6.9, rng.choice([2.5, 3.5, 4.5]))

    def solve(values: tuple[int, ...], rule: str, slip: int) -> tuple[str, int]:
        one, two = values
        if rule == "area":
            return f"Area is side [times] side. [{one}*{two}]=[{one * two + slip}].", one * two + slip
        both = one + two
        return (
            f"Add the sides and [double]. [{one}+{two}]=[{both}]. [2*{both}]=[{2 * both + slip}].",
            2 * both + slip,
        )

    goal = "area" if area else "perimeter"
    question = rng.choice([f"Find the {goal} of the rectangle.", f"What is the {goal} of this rectangle?"])
    rules = ("area", "perimeter") if area else ("perimeter", "area")
    return Draft("rectangle", question, (width, height), rules, goal, canvas, solve)


def triangle_area(rng: Random) -> Draft:
    """The base and the height of a triangle are marked; find its area."""
    base, height = 2 * rng.randint(2, 12), rng.randint(3, 15)
    canvas = Canvas(mirrored=rng.random() < 0.5)
    apex = rng.uniform(2.2, 3.4)
    canvas.polygon((0.3, 6.4), (7.6, 6.4), (apex, 0.5))
    canvas.dashed((apex, 0.5), (apex, 6.4))
    canvas.label(str(height), apex + 1.5, 4.5)
    canvas.label(str(base), 4.4, 7.4)
    opening = rng.choice(["The area is [half] of base times height.", "Take [half] of base times height."])

    def solve(values: tuple[int, ...], rule: str, slip: int) -> tuple[str, int]:
        one, two = values
        product = one * two
        if rule == "half":
            return (
                f"{opening} [{one}*{two}]=[{product}]. [{product}/2]=[{product // 2 + slip}].",
                product // 2 + slip,
            )
        return f"The area is base [times] height. [{one}*{two}]=[{product + slip}].", product + slip

    question = rng.choice(
        ["The dashed line is the height. Find the area of the triangle.", "What is the area of the triangle?"]
    )
    return Draft("triangle_area", question, (base, height), ("half", "product"), "area", canvas, solve)


def similar_triangles(rng: Random) -> Draft:
    """Two similar triangles; a pair of sides gives the scale, find the side marked."""
    base, side = rng.sample(range(2, 13), 2)
    scale = rng.randint(2, 6)
    canvas = Canvas(mirrored=rng.random() < 0.5)
    canvas.polygon((0.4, 6.6), (3.0, 6.6), (0.9, 4.0))
    canvas.polygon((3.9, 6.6), (7.8, 6.6), (4.7, 2.0))
    canvas.label(str(base), 1.7, 7.4)
    canvas.label(str(side), 2.7, 4.6)
    canvas.label(str(base * scale), 5.8, 7.4)
    canvas.label("?", 7.2, 3.6)
    opening = rng.choice(["Similar triangles have one scale.", "The sides are in proportion."])

    def solve(values: tuple[int, ...], rule: str, slip: int) -> tuple[str, int]:
        small, other, big = values
        if rule == "scale":
            answer = big // small * other + slip
            return f"{opening} [{big}/{small}]=[{big // small}]. [{big // small}*{other}]=[{answer}].", answer
        answer = other + big - small + slip
        return f"{opening} [{big}-{small}]=[{big - small}]. [{other}+{big - small}]=[{answer}].", answer

    question = rng.choice(
        [
            "The triangles are similar. Find the side marked ?.",
            "Find the length marked ? in the similar triangles.",
        ]
    )
    return Draft("similar_triangles", question, (base, side, base * scale), ("scale", "shift"), "scale", canvas, solve)
