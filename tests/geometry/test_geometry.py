"""The procedural problems: deterministic, labelled, right by a second calculation, split for ever."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from random import Random

import numpy as np
import pytest
from PIL import Image

from cepo.answers import extract_answer, grade, why_not_gradable
from cepo.geometry import FAMILIES, SPLITS, generate
from cepo.geometry.canvas import SIDE, Canvas
from cepo.geometry.glyphs import CELL, GLYPHS
from cepo.geometry.problems import drafts, render, split_of, work_wrongly
from cepo.geometry.worked import Draft, parse_markup

COUNT = 3000


@pytest.fixture(scope="module")
def many_drafts() -> list[Draft]:
    return [draft for split in SPLITS for draft in islice(drafts(split, seed=5), COUNT // len(SPLITS))]


Label = tuple[str, float, float]


def labels(draft: Draft) -> list[Label]:
    """What the picture says: each label's text and the cell coordinates of its middle."""
    found: list[Label] = []
    cells = draft.canvas.cells
    for row, column in sorted(cells):
        if (row, column - 1) in cells:
            continue
        text = ""
        while (row, column + len(text)) in cells:
            text += cells[row, column + len(text)]
        found.append((text, column + len(text) / 2, row + 0.5))
    return found


def numbers(draft: Draft) -> list[int]:
    return sorted(int(digits) for text, _, _ in labels(draft) for digits in re.findall(r"\d+", text))


def asked_row(draft: Draft) -> float:
    """The height of the question mark in the picture, in cells from above."""
    (row,) = (y for text, _, y in labels(draft) if text == "?")
    return row


def exterior_angle_fits(draft: Draft, answer: int) -> bool:
    """The interior angles make 180, and so do the exterior angle and its neighbour."""
    first, second = draft.values
    outer = draft.variant == "outer"
    interior = (first, second) if outer else (first, answer)
    return sum(interior) + (180 - (answer if outer else second)) == 180


def parallelogram_fits(draft: Draft, answer: int) -> bool:
    """The two expressions in the picture are one positive length."""
    sides = [re.fullmatch(r"(\d*)x([+-]\d+)", text) for text, _, _ in labels(draft)]
    lengths = {int(side[1] or 1) * answer + int(side[2]) for side in sides if side}
    return len(sides) == 2 and len(lengths) == 1 and min(lengths) > 0


def pythagoras_fits(draft: Draft, answer: int) -> bool:
    one, two = (side**2 for side in draft.values)
    asked_for_the_slope = asked_row(draft) == 2.5
    return one + two == answer if asked_for_the_slope else one + answer == two


def isosceles_fits(draft: Draft, answer: int) -> bool:
    apex, base = (answer, *draft.values) if asked_row(draft) < 4 else (*draft.values, answer)
    return apex + base + base == 180


def circle_fits(draft: Draft, answer: int) -> bool:
    central, inscribed = (answer, *draft.values) if asked_row(draft) > 4 else (*draft.values, answer)
    return central == 2 * inscribed


def rectangle_fits(draft: Draft, answer: int) -> bool:
    width, height = draft.values
    around = width + height + width + height
    return answer == (sum([width] * height) if "area" in draft.question else around)


def similar_fits(draft: Draft, answer: int) -> bool:
    small, other, big = draft.values
    return answer * small == other * big


def parallel_angles_fit(draft: Draft, answer: int) -> bool:
    """An angle is acute in the two corners between the transversal and a line that the picture shows so."""
    crossings = {"top": (4.78, 2.1), "bottom": (3.14, 6.1)}
    for text, x, y in labels(draft):
        if draft.canvas.mirrored:
            x = 8 - x
        cross_x, cross_y = crossings["bottom" if text == "?" else "top"]
        in_acute_corner = (x > cross_x) == (y < cross_y)  # upper right or lower left of a line leaning right
        degrees = answer if text == "?" else int(text)
        if in_acute_corner != (degrees < 90):
            return False
    return answer in (draft.values[0], 180 - draft.values[0])


# A second calculation for each family, from the theorem and the picture's labels, not by the way of `solve`.
FITS: dict[str, Callable[[Draft, int], bool]] = {
    "triangle_sum": lambda draft, answer: sum(draft.values) + answer == 180,
    "isosceles": isosceles_fits,
    "exterior_angle": exterior_angle_fits,
    "parallel_lines": parallel_angles_fit,
    "circle_angles": circle_fits,
    "parallelogram": parallelogram_fits,
    "pythagoras": pythagoras_fits,
    "rectangle": rectangle_fits,
    "triangle_area": lambda draft, answer: 2 * answer == draft.values[0] * draft.values[1],
    "similar_triangles": similar_fits,
}


def test_there_are_ten_families_and_each_is_named_after_its_function() -> None:
    assert len(FAMILIES) >= 10
    assert all(draft.family in FAMILIES for draft in islice(drafts("train", 0), len(FAMILIES)))


def test_equal_seeds_give_equal_problems_to_the_byte() -> None:
    assert generate("train", 50, seed=3) == generate("train", 50, seed=3)
    assert generate("train", 50, seed=3) != generate("train", 50, seed=4)
    assert generate("train", 10, seed=3) == generate("train", 50, seed=3)[:10]


def test_spans_partition_the_solution_and_hold_all_its_digits(many_drafts: list[Draft]) -> None:
    for draft in many_drafts:
        problem = render(draft, layout=0)
        edges = [0, *(span.end for span in problem.spans)]
        assert [span.start for span in problem.spans] == edges[:-1]
        assert edges[-1] == len(problem.solution)
        filler = "".join(problem.solution[s.start : s.end] for s in problem.spans if not s.decisive)
        assert not re.search(r"\d", filler), filler


def test_the_numbers_stand_in_the_picture_and_not_in_the_question(many_drafts: list[Draft]) -> None:
    for draft in many_drafts:
        assert not re.search(r"\d", draft.question)
        assert numbers(draft) == sorted(draft.values)


def test_every_answer_is_right_by_a_second_calculation(many_drafts: list[Draft]) -> None:
    for draft in many_drafts:
        answer = draft.work().answer
        assert answer > 0
        assert FITS[draft.family](draft, answer), draft.key


def test_every_gold_answer_scores_under_its_own_grader(many_drafts: list[Draft]) -> None:
    for draft in many_drafts:
        worked = draft.work()
        assert why_not_gradable(str(worked.answer)) is None
        assert grade(worked.text, str(worked.answer)), draft.key


def test_a_wrong_solution_never_scores(many_drafts: list[Draft]) -> None:
    rng = Random(0)
    for draft in many_drafts:
        worked = work_wrongly(draft, rng)
        assert extract_answer(worked.text) == str(worked.answer)
        assert not grade(worked.text, str(draft.work().answer)), (draft.key, worked.text)


def test_splits_share_no_problem_whatever_the_seed() -> None:
    keys = {split: {draft.key for seed in range(4) for draft in islice(drafts(split, seed), 1000)} for split in SPLITS}
    assert all(len(found) > 100 for found in keys.values())
    for one, other in (("train", "validation"), ("train", "held_out"), ("validation", "held_out")):
        assert not keys[one] & keys[other]


def test_the_same_numbers_in_another_order_are_in_the_same_split(many_drafts: list[Draft]) -> None:
    for draft in many_drafts[:500]:
        swapped = replace(draft, values=draft.values[::-1])
        assert swapped.key == draft.key
        assert split_of(swapped.key) == split_of(draft.key)


def test_a_label_is_its_glyph_pixel_by_pixel(many_drafts: list[Draft]) -> None:
    for draft in many_drafts[:300]:
        pixels = np.asarray(Image.open(io.BytesIO(render(draft, layout=0).image_png)))
        assert pixels.shape == (SIDE, SIDE)
        for (row, column), char in draft.canvas.cells.items():
            expected = np.full((CELL, CELL), 255)
            expected[1:15, 3:13][np.kron(np.array(GLYPHS[char]), np.ones((2, 2))) > 0] = 0
            shown = pixels[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
            assert (shown == expected).all(), (draft.key, char)


def test_a_mirrored_canvas_reflects_points_and_not_text() -> None:
    plain, mirrored = Canvas(), Canvas(mirrored=True)
    for canvas in (plain, mirrored):
        canvas.line((0.0, 4.0), (2.0, 4.0))
        canvas.label("12", 2.0, 1.5)
    assert plain.cells == {(1, 1): "1", (1, 2): "2"}
    assert mirrored.cells == {(1, 5): "1", (1, 6): "2"}
    left, right = (np.asarray(canvas.image())[56:72] for canvas in (plain, mirrored))
    assert (left == 255)[:, 40:].all()
    assert (right == 255)[:, :88].all()


def test_labels_that_collide_and_brackets_that_do_not_pair_are_named() -> None:
    canvas = Canvas()
    canvas.label("12", 2.0, 1.5)
    with pytest.raises(ValueError, match=r"label '3' overlaps '1' at cell \(1, 1\)"):
        canvas.label("3", 1.5, 1.5)
    with pytest.raises(ValueError, match="brackets do not pair"):
        parse_markup("so [1+2=3")


def test_wrong_requests_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown geometry families \['cube'\]; choose from triangle_sum"):
        generate("train", 1, families=["cube"])
    with pytest.raises(ValueError, match="unknown split 'test'"):
        generate("test", 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        generate("train", 0)
