"""Live rows are dealt evenly over processes, and by length over micro-batches."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cepo.trainer.balance.deal import Place, deal

ROWS = 6
"""Of each process, at most."""

LIVE = st.lists(
    st.dictionaries(st.integers(0, ROWS - 1), st.integers(1, 500), max_size=ROWS), min_size=1, max_size=5
)  # fmt: skip


@given(LIVE, st.integers(1, ROWS))
def test_every_row_is_dealt_once_and_evenly(live: list[dict[int, int]], batches: int) -> None:
    dealt = deal(live, batches)
    places = [place for shares in dealt for own in shares for place in own]
    assert sorted(places) == sorted(Place(process, row) for process, own in enumerate(live) for row in own)
    assert len(dealt) == batches
    for shares in dealt:
        counts = list(map(len, shares))
        assert max(counts) - min(counts) <= 1
        assert max(counts) <= -(-ROWS // batches)  # no more rows than TRL's own micro-batches have
    waits = sum(max(map(len, shares)) for shares in dealt)
    assert waits == -(-len(places) // len(live))


@given(LIVE, st.integers(1, ROWS))
def test_no_row_is_shorter_than_one_of_a_later_micro_batch(live: list[dict[int, int]], batches: int) -> None:
    tokens = [[live[place.process][place.row] for own in shares for place in own] for shares in deal(live, batches)]
    lasting = [own for own in tokens if own]
    assert all(min(first) >= max(second) for first, second in pairwise(lasting))


def test_rows_stay_at_home_where_all_have_as_many() -> None:
    live = [{0: 10, 1: 20}, {0: 11, 3: 21}]
    assert deal(live, 2) == [[[Place(0, 1)], [Place(1, 3)]], [[Place(0, 0)], [Place(1, 0)]]]


def test_the_shortest_micro_batches_take_what_does_not_divide() -> None:
    assert [list(map(len, shares)) for shares in deal([{0: 5, 1: 4, 2: 3, 3: 2, 4: 1}], 3)] == [[1], [2], [2]]


def test_without_live_rows_every_micro_batch_is_empty() -> None:
    assert deal([{}, {}], 2) == [[[], []], [[], []]]
