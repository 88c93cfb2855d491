"""Jobs beside a step: in order, one at a time, and their errors are heard once."""

from __future__ import annotations

import threading

import pytest

from cepo.reports.background import Background


def test_jobs_run_in_order_beside_their_giver() -> None:
    background, may_end, done = Background(), threading.Event(), []

    def first() -> None:
        assert may_end.wait(timeout=30)
        done.append("first")

    background.start(first)
    done.append("giver")  # it has not waited
    may_end.set()
    background.start(lambda: done.append("second"))
    background.wait()
    assert done == ["giver", "first", "second"]


def test_a_second_job_waits_for_the_first() -> None:
    background, may_end = Background(), threading.Event()

    def first() -> None:
        may_end.wait(timeout=30)

    background.start(first)
    second = threading.Thread(target=background.start, args=(lambda: None,))
    second.start()
    second.join(timeout=0.05)
    assert second.is_alive()
    may_end.set()
    second.join(timeout=30)
    assert not second.is_alive()


def test_an_error_is_raised_once_by_what_comes_next() -> None:
    background, ran = Background(), []

    def fails() -> None:
        raise OSError("full")

    background.start(fails)
    with pytest.raises(OSError, match="full"):
        background.start(lambda: ran.append("after"))
    background.wait()
    assert ran == []
