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

from cepo.answers import GraderUnavailable, grade, grade_many, grader_timeouts, judge, pool, rules, same_answer, verdict

# Only math-verify reads sums and integrals; sympy takes minutes over the second pair.
OPEN = (r"\sum_{k=1}^{10} k^2", r"\sum_{k=1}^{10} k\cdot k")
HARD = (
    r"\int_0^1 \frac{\sin^5(x^3+x)}{\sqrt{x^7+x+1}} dx + \int_0^2 x dx",
    r"\int_0^2 x dx + \int_0^1 \frac{\sin^5(x+x^3)}{\sqrt{x^7+x+1}} dx",
)


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    rules.found_by_rules.cache_clear()
    verdict._remembered.clear()


def worker_pid() -> int:
    assert pool.ask("same_expression", r"\sqrt{50}", r"5\sqrt{2}", 30.0)
    return pool.POOL.processes()[-1].pid


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
    pool.POOL.stop()
    start = time.process_time()
    right = sum(grade(rf"so \boxed{{{n}}}", str(n + n % 2)) for n in range(10_000))
    assert right == 5_000
    assert time.process_time() - start < 1.5
    assert pool.POOL.processes() == []


BOMBS = [
    "9**9**9**9",
    "10^{10^{10}}",
    "2^{2^{2^{2^{2^{2}}}}}",
    "99999999!",
    "((((9!)!)!)!)!",
    r"\binom{10^9}{5\cdot 10^8}",
    "(x+y+z)^{1000}",
    "(" * 240 + "1" + ")" * 240,
    r"\sqrt{" * 70 + "1" + "}" * 70,
    "-" * 499,
    "1" * 499,
    "x^" * 240 + "x",
    "|" * 499,
    r"\frac{" * 80,
    r"\text{" * 80,
    "{" * 499,
    "," * 499,
    ",".join("1" * 250),
    r"\pm 1" * 90,
    r"\sin " * 90 + "x",
    "9" * 100 + "^{" + "9" * 100 + "}",
    "0." + "0" * 400 + "1^{-0.5}",
    r"e^{e^{e^{e^{9}}}}",
    r"\ln\ln\ln\ln 2",
    "1e9999^{9999}",
    "<" * 400,
    "x=" * 200 + "1",
    r"\arcsin x " * 40 + "+10^{-590}",
    r"\log_x y " * 50 + "+10^{-2000}",
    "x!" * 200 + "+10^{-300}",
    "x+1," * 124,
    "y x" * 160,
]


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("gold", [r"\sqrt{5}", "x^2+1", r"\{1, 2\}", "x < 3"])
def test_a_bomb_is_wrong_in_bounded_time_and_leaves_a_working_grader(bomb: str, gold: str) -> None:
    start = time.process_time()
    assert not judge(bomb, gold).same
    assert not judge(gold, bomb).same
    assert time.process_time() - start < 1.0
    assert same_answer(r"\sqrt{12}", r"2\sqrt{3}")


def test_a_late_verdict_is_counted_and_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    before = grader_timeouts()
    late = judge(*OPEN, timeout_s=0.0)
    assert (late.same, late.rule, late.is_late) == (False, "late", True)
    assert grader_timeouts() == before + 1
    assert judge(*OPEN, timeout_s=30.0).same, "the same question later, with time enough"
    assert grader_timeouts() == before + 1
    monkeypatch.setattr(pool, "ask", lambda *_: pytest.fail("asked again"))
    assert judge(*OPEN).same, "what was answered is remembered"


def test_a_late_question_is_asked_once_more_of_a_fresh_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    pids: list[int] = []
    ask = pool.Worker.ask

    def slow_at_first(worker: pool.Worker, question: bytes, timeout_s: float) -> bool | None:
        answer = ask(worker, question, timeout_s)
        assert worker.process is not None
        pids.append(worker.process.pid)
        if len(pids) == 1:
            worker.stop()
            raise pool.Late
        return answer

    monkeypatch.setattr(pool.Worker, "ask", slow_at_first)
    before = grader_timeouts()
    assert judge(*OPEN, timeout_s=30.0).same
    assert len(set(pids)) == 2
    assert grader_timeouts() == before


def test_a_batch_keeps_its_budget_and_its_order() -> None:
    worker_pid()
    texts = [rf"\boxed{{{HARD[0]} + {n}}}" for n in range(40)]
    golds = [f"{HARD[1]} + {n}" for n in range(40)]
    before, start = grader_timeouts(), time.monotonic()
    verdicts = grade_many([r"\boxed{7}", *texts, r"\boxed{x+y}"], ["7", *golds, "y+x"], budget_s=1.0)
    # The time that fresh workers take to start is not the questions' own.
    assert time.monotonic() - start < 1.0 + 10.0 * pool.POOL.size
    assert [verdicts[0].same, verdicts[-1].same] == [True, True]
    late = [one for one in verdicts[1:-1] if one.is_late]
    assert late, "forty integrals in a second"
    assert grader_timeouts() == before + len(late)


def test_a_batch_asks_each_question_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(pool, "ask", lambda kind, *question: asked.append(question) or True)
    verdicts = grade_many([rf"\boxed{{{OPEN[0]}}}"] * 50, [OPEN[1]] * 50)
    assert [one.same for one in verdicts] == [True] * 50
    assert len(asked) == 1


def test_every_verdict_is_right_from_many_threads() -> None:
    wrong: list[str] = []

    def work(root: int) -> None:
        for n in range(2, 8):
            if not same_answer(rf"\sqrt{{{root * n * n}}}", rf"{n}\sqrt{{{root}}}"):
                wrong.append(f"{n} sqrt {root} refused")
            if same_answer(rf"\sqrt{{{root * n * n + 1}}}", rf"{n}\sqrt{{{root}}}"):
                wrong.append(f"{n} sqrt {root} accepted another")
            if not pool.ask("same_expression", rf"\sqrt{{{root * n * n}}}", rf"{n}\sqrt{{{root}}}", 30.0):
                wrong.append(f"{n} sqrt {root} refused by the workers")

    threads = [threading.Thread(target=work, args=(root,)) for root in (2, 3, 5, 7, 11, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_worker_killed_while_idle_costs_no_verdict() -> None:
    pid, before = worker_pid(), grader_timeouts()
    os.kill(pid, signal.SIGKILL)
    assert pool.ask("same_expression", r"\sqrt{27}", r"3\sqrt{3}", 30.0)
    assert worker_pid() != pid
    assert grader_timeouts() == before


def test_a_question_that_kills_its_workers_is_late() -> None:
    with pytest.raises(pool.Late):
        pool.ask("same_expression", "10^{10^{10}}", r"\sqrt{5}", 0.3)
    assert pool.ask("same_expression", r"\sqrt{27}", r"3\sqrt{3}", 30.0)


def test_an_interrupted_question_does_not_answer_the_next_one() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    worker_pid()
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            pool.ask("same_expression", "(x+y+z)^{1000}", r"\sqrt{5}", 30.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert pool.ask("same_expression", r"\sqrt{27}", r"3\sqrt{3}", 30.0)
    assert not pool.ask("same_expression", r"\sqrt{27}", r"2\sqrt{3}", 30.0)


def test_a_forked_process_gets_a_worker_of_its_own() -> None:
    pid = worker_pid()
    child = os.fork()
    if child == 0:
        try:
            own = worker_pid()
        except BaseException:
            os._exit(2)
        os._exit(0 if own != pid else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert worker_pid() == pid


@pytest.fixture
def fresh_workers() -> Iterator[None]:
    pool.POOL.stop()
    yield
    pool.POOL.stop()


@pytest.mark.usefixtures("fresh_workers")
@pytest.mark.parametrize("executable", ["/no/such/python", "/bin/false"])
def test_a_worker_that_cannot_start_is_an_error_not_a_verdict(executable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool.sys, "executable", executable)
    with pytest.raises(GraderUnavailable, match=executable):
        same_answer(*OPEN)
    with pytest.raises(GraderUnavailable, match=executable):
        grade_many([rf"\boxed{{{OPEN[0]}}}"], [OPEN[1]])
    assert same_answer(r"\sqrt{8}", r"2\sqrt{2}")


ASK = """
import os, threading
from cepo.answers import pool
assert pool.ask("same_expression", r"\\sqrt{8}", r"2\\sqrt{2}", 30.0)
print(pool.POOL.processes()[-1].pid, flush=True)
"""


@pytest.mark.parametrize(
    ("ending", "seconds"),
    [
        ("", 2.0),
        ("os._exit(0)", 2.0),
        # The caller dies while its worker computes: the worker's own alarm must end it.
        (
            "threading.Timer(0.3, os._exit, (0,)).start()\n"
            "pool.ask('same_expression', '(x+y+z)^{1000}', r'\\sqrt{5}', 1.0)",
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
