"""Scoring moves from the busiest process to the idlest, whole groups or parts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cepo.scoring import ScoreRow
from cepo.trainer.balance.share import Load, loads, share


def total(own: list[Load]) -> int:
    return sum(load.total for load in own)


def after(everyones: list[list[Load]], worth: int) -> list[int]:
    """Tokens of each process once the moves are made, counted anew from which sequence is where."""
    homes = {
        (process, index): (place, load.prefix, tokens)
        for process, own in enumerate(everyones)
        for place, load in enumerate(own)
        for index, tokens in zip(load.indices, load.tokens, strict=True)
    }
    scored = {key: key[0] for key in homes}
    for move in share(everyones, worth):
        assert move.source != move.to
        for index in move.indices:
            assert scored[move.source, index] == move.source, "no sequence moves twice"
            scored[move.source, index] = move.to
    busy = [0] * len(everyones)
    prefixes = set()
    for (source, index), process in scored.items():
        place, prefix, tokens = homes[source, index]
        busy[process] += tokens
        if (process, source, place) not in prefixes:
            prefixes.add((process, source, place))
            busy[process] += prefix
    return busy


def numbered(everyones: list[list[tuple[int, list[int]]]]) -> list[list[Load]]:
    found = []
    for own in everyones:
        start, made = 0, []
        for prefix, tokens in own:
            made.append(Load(prefix, tokens, range(start, start + len(tokens))))
            start += len(tokens)
        found.append(made)
    return found


LOADS = st.lists(
    st.lists(
        st.tuples(st.integers(0, 50), st.lists(st.integers(1, 100), min_size=1, max_size=6)), max_size=3
    ),
    min_size=1, max_size=5,
).map(numbered)  # fmt: skip


@given(LOADS, st.integers(1, 40))
def test_the_busiest_never_gets_busier(everyones: list[list[Load]], worth: int) -> None:
    assert max(after(everyones, worth)) <= max(map(total, everyones))


@given(st.lists(st.integers(1, 100), max_size=12), st.integers(2, 5))
def test_what_one_process_alone_has_is_spread_to_within_a_sequence(tokens: list[int], processes: int) -> None:
    one_sided = numbered([[(0, [own]) for own in tokens], *([] for _ in range(processes - 1))])
    found = after(one_sided, 1)
    assert max(found) - min(found) <= max(tokens, default=0)


def test_half_of_what_one_process_alone_has_goes_over() -> None:
    one = numbered([[(10, [30, 30, 30, 30]), (10, [30, 30, 30, 30])], []])
    assert share(one, 1) == [(0, 1, range(4))]
    assert after(one, 1) == [130, 130]


def test_a_part_of_a_group_takes_its_prefix_along() -> None:
    one = numbered([[(10, [30, 30, 30, 30])], []])
    assert share(one, 1) == [(0, 1, range(2))]
    assert after(one, 1) == [70, 70]


def test_a_prefix_that_costs_more_than_is_won_stays() -> None:
    assert share(numbered([[(100, [30, 30])], [(0, [40])]]), 1) == []
    assert len(share(numbered([[(10, [30, 30])], [(0, [20])]]), 1)) == 1


def test_a_whole_group_leaves_no_prefix_behind() -> None:
    two = numbered([[(100, [30]), (100, [30])], []])
    assert len(share(two, 100)) == 1
    assert after(two, 100) == [130, 130]


def test_a_move_that_saves_too_little_is_not_made() -> None:
    one = numbered([[(0, [10]), (0, [10])], []])
    assert share(one, 11) == []
    assert len(share(one, 10)) == 1


def test_what_a_process_has_to_score_is_counted_by_group() -> None:
    rows = [
        ScoreRow([1, 2, 3, 4], [9, 9], group="a"),
        ScoreRow([5], [9]),
        ScoreRow([1, 2, 7], [9], group="a"),
        ScoreRow([5], [9, 9]),
    ]
    assert loads(rows) == [Load(2, [4, 2], [0, 2]), Load(0, [2], [1]), Load(0, [3], [3])]
