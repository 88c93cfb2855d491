"""No answer hangs the grader or kills it, in any thread or process, and no process outlives its caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from cepo.answers import GraderUnavailable, grade, same_answer
from cepo.answers import algebra as _algebra
from cepo.answers import verdict as answers


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    answers._same_answer.cache_clear()


def worker_pid() -> int:
    assert same_answer(r"\sqrt{50}", r"5\sqrt{2}")
    assert _algebra._WORKER._process is not None
    return _algebra._WORKER._process.pid


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def dies_within(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_alive(pid)


def test_ten_thousand_integer_answers_need_no_worker_and_no_time() -> None:
    _algebra._WORKER.stop()
    start = time.process_time()
    right = sum(grade(rf"so \boxed{{{n}}}", str(n + n % 2)) for n in range(10_000))
    assert right == 5_000
    assert time.process_time() - start < 1.0
    assert _algebra._WORKER._process is None


@pytest.mark.parametrize(
    "bomb",
    [
        "9**9**9**9",
        "10^{10^{10}}",
        "99999999!",
        "(x+y+z)^{1000}",
        "(" * 240 + "1" + ")" * 240,
        r"\sqrt{" * 70 + "1" + "}" * 70,
    ],
)
def test_a_bomb_is_wrong_in_bounded_time_and_leaves_a_working_grader(bomb: str) -> None:
    worker_pid()
    start = time.monotonic()
    assert not same_answer(bomb, r"\sqrt{5}", timeout_s=0.3)
    assert time.monotonic() - start < 2.0
    assert same_answer(r"\sqrt{12}", r"2\sqrt{3}")


def test_every_verdict_is_right_from_many_threads() -> None:
    wrong: list[str] = []

    def work(root: int) -> None:
        for n in range(2, 8):
            if not same_answer(rf"\sqrt{{{root * n * n}}}", rf"{n}\sqrt{{{root}}}"):
                wrong.append(f"{n} sqrt {root} refused")
            if same_answer(rf"\sqrt{{{root * n * n + 1}}}", rf"{n}\sqrt{{{root}}}"):
                wrong.append(f"{n} sqrt {root} accepted another")

    threads = [threading.Thread(target=work, args=(root,)) for root in (2, 3, 5, 7, 11, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_worker_killed_while_idle_costs_no_verdict() -> None:
    pid = worker_pid()
    os.kill(pid, signal.SIGKILL)
    assert same_answer(r"\sqrt{27}", r"3\sqrt{3}")
    assert worker_pid() != pid


def test_a_worker_killed_at_work_answers_false_and_is_replaced() -> None:
    killer = threading.Timer(0.2, os.kill, (worker_pid(), signal.SIGKILL))
    killer.start()
    assert not same_answer("10^{10^{10}}", r"\sqrt{5}", timeout_s=0.6)
    killer.join()
    assert same_answer(r"\sqrt{27}", r"3\sqrt{3}")


def test_an_interrupted_question_does_not_answer_the_next_one() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    worker_pid()
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            same_answer("(x+y+z)^{1000}", r"\sqrt{5}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert same_answer(r"\sqrt{27}", r"3\sqrt{3}")
    assert not same_answer(r"\sqrt{27}", r"2\sqrt{3}")


def test_a_forked_process_gets_a_worker_of_its_own() -> None:
    pid = worker_pid()
    child = os.fork()
    if child == 0:
        same = same_answer(r"\sqrt{242}", r"11\sqrt{2}")
        process = _algebra._WORKER._process
        os._exit(0 if same and process is not None and process.pid != pid else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert worker_pid() == pid


@pytest.fixture
def fresh_worker() -> Iterator[None]:
    _algebra._WORKER.stop()
    yield
    _algebra._WORKER.stop()


@pytest.mark.usefixtures("fresh_worker")
@pytest.mark.parametrize("executable", ["/no/such/python", "/bin/false"])
def test_a_worker_that_cannot_start_is_an_error_not_a_verdict(executable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_algebra.sys, "executable", executable)
    with pytest.raises(GraderUnavailable, match=executable):
        same_answer(r"\sqrt{8}", r"2\sqrt{2}")
    assert same_answer("5", "5.0")


ASK = """
import os, sys, threading
from cepo.answers import algebra as _algebra
from cepo.answers import same_answer
assert same_answer(r"\\sqrt{8}", r"2\\sqrt{2}")
print(_algebra._WORKER._process.pid, flush=True)
"""


@pytest.mark.parametrize(
    ("ending", "seconds"),
    [
        ("", 2.0),
        ("os._exit(0)", 2.0),
        # The caller dies while its worker computes: the worker's own alarm must end it.
        (
            "threading.Timer(0.3, os._exit, (0,)).start(); same_answer('(x+y+z)^{1000}', '5', timeout_s=1.0)",
            4.0,
        ),
    ],
    ids=["exit", "abrupt exit", "abrupt exit at work"],
)
def test_no_worker_outlives_its_caller(ending: str, seconds: float) -> None:
    caller = subprocess.run([sys.executable, "-c", ASK + ending], stdout=subprocess.PIPE, check=True, timeout=60)
    assert dies_within(int(caller.stdout), seconds)


def test_the_worker_does_not_run_the_callers_script_again(tmp_path: object) -> None:
    script = f"{tmp_path}/train.py"  # no `if __name__ == "__main__"`, as most training scripts
    with open(script, "w") as file:
        file.write("print('started', flush=True)\n" + ASK)
    caller = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=60)
    assert caller.stdout.count("started") == 1
    assert caller.stderr == ""
