"""Which forwards score: every row once, no forward beyond its budget, and no cheaper way to cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from cepo.scoring import Forwards, Images, OtherImages, ScoreRow
from cepo.scoring.plan import SHORTEST_PREFIX, Plan, SharedBatch, make_plan, unique_rows

TOKEN = 3
IMAGES = Images(torch.zeros(1, 1), torch.ones(1, 3, dtype=torch.long))


@dataclass(frozen=True)
class Drawn:
    """A group's prompt and whether it has images; of each of its rows the reference and the completion's length."""

    group: int | None
    images: bool
    shared: int
    blocks: tuple[int, int]
    rows: list[tuple[int, int]]

    def made(self) -> list[ScoreRow]:
        if self.group is None:
            return [ScoreRow([9] * self.shared, [8] * length) for _, length in self.rows]
        prompt = [TOKEN if self.images else 4, *[10 + self.group] * self.shared]
        told = [[5] * self.blocks[0], [6] * self.blocks[1], []]
        images = IMAGES if self.images else None
        return [ScoreRow([*prompt, *told[which], 7], [8] * length, images, self.group) for which, length in self.rows]


def drawn(group: int | None) -> st.SearchStrategy[Drawn]:
    """Plain numbers: types are checked where rows are made, which is random, and must not be within a strategy."""
    rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20)), min_size=1, max_size=6)
    blocks = st.tuples(st.integers(1, 30), st.integers(1, 30))
    return st.builds(Drawn, st.just(group), st.booleans(), st.integers(10, 40), blocks, rows)


GROUPS = st.tuples(drawn(0), drawn(1), drawn(2), drawn(None)).flatmap(
    lambda all_: st.lists(st.sampled_from(all_), min_size=1, max_size=4, unique_by=lambda one: one.group)
)


def made(groups: list[Drawn]) -> list[ScoreRow]:
    return [row for group in groups for row in group.made()]


def forwards_of(batch: SharedBatch, rows: Sequence[ScoreRow]) -> Iterator[list[int]]:
    """Of each forward the tokens of its rows, what they continue from included."""
    lengths = {group: length for group, (_, length) in batch.prefixes.items()}
    longest = max(lengths.values())
    yield list(lengths.values())
    stem = {own: len(rows[own].prompt_ids) - 1 - lengths[rows[own].group] for own in set(batch.stems.values())}
    if stem:
        yield [longest + length for length in stem.values()]
    for members in batch.batches:
        done = [len(rows[i].prompt_ids) - 1 if stem else lengths[rows[i].group] for i in members]
        before = longest + max(stem.values(), default=0)
        yield [before + rows[i].length - n for i, n in zip(members, done, strict=True)]


@given(GROUPS, st.sampled_from([40, 90, 300, 5000]), st.sampled_from([0, 1, 50]))
def test_every_row_is_scored_once_and_no_forward_is_larger_than_it_may(
    groups: list[Drawn], budget: int, launch: int
) -> None:
    rows = made(groups)
    plan = make_plan(rows, budget, TOKEN, launch=launch)
    whole = [index for side in plan.whole for batch in side for index in batch]
    shared = [index for batch in plan.shared for members in batch.batches for index in members]
    assert sorted(whole + shared) == list(range(len(rows)))
    forwards = [[rows[index].length for index in batch] for side in plan.whole for batch in side]
    forwards += [tokens for batch in plan.shared for tokens in forwards_of(batch, rows)]
    assert all(len(tokens) == 1 or len(tokens) * max(tokens) <= budget for tokens in forwards)
    assert sum(plan.forwards) == len(forwards)
    for side, has_images in zip(plan.whole, (True, False), strict=True):
        assert all((rows[index].images is not None) == has_images for batch in side for index in batch)
    for batch in plan.shared:
        assert all((rows[row].images is not None) == batch.has_images for row, _ in batch.prefixes.values())


@given(GROUPS, st.sampled_from([90, 5000]))
def test_what_is_shared_is_what_the_rows_have_in_common(groups: list[Drawn], budget: int) -> None:
    rows = made(groups)
    for batch in make_plan(rows, budget, TOKEN, launch=0).shared:
        for group, (head, length) in batch.prefixes.items():
            own = [index for index, row in enumerate(rows) if row.group == group]
            prompts = [list(rows[index].prompt_ids) for index in own]
            assert head in own
            assert len(own) > 1
            assert length >= SHORTEST_PREFIX
            assert all(prompt[:length] == prompts[0][:length] for prompt in prompts)
            assert all(length < len(prompt) for prompt in prompts), "the last token predicts the completion's first"
            ends = any(len(prompt) == length + 1 for prompt in prompts)
            assert ends or len({prompt[length] for prompt in prompts}) > 1, "no longer one is there"
            assert all(rows[batch.stems[i]].prompt_ids == rows[i].prompt_ids for i in own if batch.stems)


def cost(lengths: Sequence[int], launch: int) -> int:
    return launch + len(lengths) * max(lengths)


def cheapest(lengths: Sequence[int], budget: int, launch: int) -> int:
    """Over every way to cut them, in order of length."""
    order, found = sorted(lengths), []
    for count in range(len(order)):
        for inner in combinations(range(1, len(order)), count):
            parts = [order[start:end] for start, end in pairwise((0, *inner, len(order)))]
            if all(len(part) == 1 or len(part) * part[-1] <= budget for part in parts):
                found.append(sum(cost(part, launch) for part in parts))
    return min(found)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=7), st.sampled_from([10, 40, 100]), st.sampled_from([0, 5, 40])
)
@example([10] * 4, 40, 5)
@example([1] * 10, 10, 5)
def test_there_is_no_cheaper_way_to_cut(lengths: list[int], budget: int, launch: int) -> None:
    rows = [ScoreRow([9] * length, []) for length in lengths]
    _, batches = make_plan(rows, budget, None, launch=launch).whole
    assert sum(cost([lengths[i] for i in batch], launch) for batch in batches) == cheapest(lengths, budget, launch)


def planned(*prompts: list[int], images: Images | None = None, token: int | None = TOKEN, share: bool = True) -> Plan:
    return make_plan([ScoreRow(prompt, [1], images, "g") for prompt in prompts], 1000, token, share=share)


def test_a_prefix_must_be_worth_it_and_hold_all_images() -> None:
    prefix = [5] * SHORTEST_PREFIX
    assert planned([*prefix, 6], [*prefix, 7]).shared[0].prefixes == {"g": (0, SHORTEST_PREFIX)}
    assert planned([*prefix, 6], [*prefix, 7]).forwards == Forwards(0, 2)
    assert not planned([*prefix[1:], 6], [*prefix[1:], 7]).shared, "too short"
    assert not planned([*prefix, 6]).shared, "one row"
    assert not planned([*prefix, 6], [*prefix, 7], share=False).shared
    assert not planned(prefix, [*prefix, 7]).shared, "the last token is not the prefix's"
    seen = planned([TOKEN, *prefix, 6], [TOKEN, *prefix, 7], images=IMAGES)
    assert (len(seen.shared), seen.forwards) == (1, Forwards(1, 1))
    assert not planned([*prefix, 6, TOKEN], [*prefix, 7, TOKEN], images=IMAGES).shared, "its image comes later"
    assert planned([*prefix, 6, TOKEN], [*prefix, 7, TOKEN], token=None).shared, "a token as any other"


def told_two(groups: int) -> list[ScoreRow]:
    """Of each group five rows of 52 tokens: a prefix of 20, one of two stems of 30, and two that follow."""
    stems = [[5] * 30, [6] * 30]
    return [ScoreRow([*[10 + g] * 20, *stems[i % 2], 9], [8], None, g) for g in range(groups) for i in range(5)]


@pytest.mark.parametrize(
    ("groups", "launch", "parts", "forwards"),
    [
        (1, 90, 1, 1 + 1 + 2), (1, 91, 0, 1 + 2),
        (2, 180, 1, 1 + 1 + 3), (2, 181, 0, 1 + 3),
        (4, 180, 2, 2 * (1 + 1 + 3)), (4, 181, 0, 1 + 5),
    ],
    ids=str,
)  # fmt: skip
def test_stems_are_encoded_where_each_forward_of_them_saves_as_many_tokens_as_it_costs(
    groups: int, launch: int, parts: int, forwards: int
) -> None:
    """Three rows of a group spare their stem: 90 tokens. Stems and what they continue from, 100, fit twice."""
    rows = told_two(groups)
    plan = make_plan(rows, 208, None, launch=launch)
    assert [bool(batch.stems) for batch in plan.shared] == [True] * parts or [False]
    assert Counter(group for batch in plan.shared for group in batch.prefixes) == Counter(range(groups))
    assert sum(plan.forwards) == forwards
    assert all(len(tokens) * max(tokens) <= 208 for batch in plan.shared for tokens in forwards_of(batch, rows))


def test_prefixes_that_just_fit_are_encoded_together() -> None:
    for budget, batches in ((80, 1), (79, 2)):
        assert len(make_plan(told_two(4), budget, None).shared) == batches


def test_images_of_another_layout_go_one_by_one_and_are_shared_where_all_that_they_mark_is() -> None:
    """What they mark, 20 tokens here, may be any: there need be no placeholder."""
    other = OtherImages({"pixels": torch.zeros(1, 1)}, {"token_type_ids": torch.zeros(1, 20, dtype=torch.long)})
    text = [ScoreRow([4] * 5, [1]), ScoreRow([4] * 5, [1])]
    for length, are_shared in ((19, False), (20, True)):
        rows = [ScoreRow([*[g] * length, end], [1], other, g) for g in (5, 6) for end in (7, 8)]
        plan = make_plan([*rows, *text], 1000, None)
        assert [list(batch.prefixes) for batch in plan.shared] == ([[5], [6]] if are_shared else [])
        assert plan.whole == (([] if are_shared else [[0], [1], [2], [3]]), [[4, 5]])


@pytest.mark.parametrize(
    ("rows", "kept", "place"),
    [
        ([ScoreRow([1], [2], None, 0), ScoreRow([1], [2], None, 0)], [0], [0, 0]),
        ([ScoreRow([1], [2], None, 0), ScoreRow([1], [2], None, 1)], [0, 1], [0, 1]),
        ([ScoreRow([1], [2], None, 0), ScoreRow([1], [3], None, 0)], [0, 1], [0, 1]),
        ([ScoreRow([1], [2], None, 0), ScoreRow([3], [2], None, 0)], [0, 1], [0, 1]),
        ([ScoreRow([1], [2]), ScoreRow([1], [2])], [0, 1], [0, 1]),
        (
            [ScoreRow([1], [2], None, 0), ScoreRow([3], [2], None, 0), ScoreRow([1], [2], None, 0),
             ScoreRow([4], [2], None, 0), ScoreRow([4], [2], None, 0)],
            [0, 1, 3],
            [0, 1, 0, 2, 2],
        ),
    ],
    ids=["equal", "other groups", "other completions", "other prompts", "without a group", "several"],
)  # fmt: skip
def test_equal_rows_are_scored_once(rows: list[ScoreRow], kept: list[int], place: list[int]) -> None:
    assert unique_rows(rows) == (kept, place)
