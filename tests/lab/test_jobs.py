"""Processes side by side: as many as allowed, none twice, none in a folder where another one works."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cepo.lab.jobs import Job, Status, last_lines, run_jobs
from cepo.lab.progress import shown

WRITE = "import pathlib, time; time.sleep({seconds}); pathlib.Path({path!r}).write_text('done')"


def job(folder: Path, code: str, result: str = "result", prepare: Callable[[], object] = lambda: None) -> Job:
    """A job whose Python code is to write `result` into the folder."""
    return Job(
        name=folder.name,
        folder=folder,
        log=folder / "train.log",
        command=[sys.executable, "-S", "-c", code],
        prepare=prepare,
        done=lambda: (folder / result).is_file(),
        progress=lambda: (int((folder / result).is_file()), 1),
    )


def writing(folder: Path, seconds: float = 0.0) -> Job:
    return job(folder, WRITE.format(seconds=seconds, path=str(folder / "result")))


def alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def wait_for(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def silent(statuses: Sequence[Status]) -> None:
    pass


def test_a_failure_is_told_and_stops_nobody(tmp_path: Path) -> None:
    bad = job(tmp_path / "bad", "print('one\\rtwo\\nValueError: three'); raise SystemExit(3)")
    empty = job(tmp_path / "empty", "pass")
    killed = job(tmp_path / "killed", "import os; os.kill(os.getpid(), 9)")
    good = writing(tmp_path / "good")
    failures = run_jobs([bad, empty, killed, good], 1, silent)
    assert good.done()
    assert {name: failure.reason for name, failure in failures.items()} == {
        "bad": "it ended with exit code 3",
        "empty": "it ended without its result",
        "killed": "it was killed by SIGKILL",
    }
    assert failures["bad"].tail == ("one", "two", "ValueError: three")
    assert failures["bad"].log == tmp_path / "bad" / "train.log"


def test_what_is_done_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "result").write_text("then")
    prepared: list[str] = []
    a = job(tmp_path / "a", "raise SystemExit(1)", prepare=lambda: prepared.append("a"))
    b = job(
        tmp_path / "b", WRITE.format(seconds=0, path=str(tmp_path / "b/result")), prepare=lambda: prepared.append("b")
    )
    assert run_jobs([a, b], 2, silent) == {}
    assert prepared == ["b"]
    assert (tmp_path / "a" / "result").read_text() == "then"


def test_the_lock_names_the_process(tmp_path: Path) -> None:
    named = f"import os, pathlib, time; time.sleep(0.5); here = pathlib.Path({str(tmp_path / 'a')!r}); "
    named += "(here / 'result').write_text(str(int((here / 'lock').read_text()) == os.getpid()))"
    run_jobs([job(tmp_path / "a", named)], 1, silent)
    assert (tmp_path / "a" / "result").read_text() == "True"


def test_no_more_than_allowed_run_at_once(tmp_path: Path) -> None:
    seen: list[list[str]] = []
    jobs = [writing(tmp_path / name, seconds=0.3) for name in "abc"]
    run_jobs(jobs, 2, lambda statuses: seen.append([status.state for status in statuses]))
    assert seen[0] == ["running", "running", "waiting"]
    assert seen[-1] == ["done", "done", "done"]
    assert all(states.count("running") <= 2 for states in seen)


def test_each_has_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    result = tmp_path / "a" / "result"
    code = f"import os, pathlib; pathlib.Path({str(result)!r}).write_text(os.environ['OMP_NUM_THREADS'])"
    run_jobs([job(tmp_path / "a", code)], 1, silent)
    assert result.read_text() == "1"


def test_two_jobs_of_one_folder_run_one_after_the_other(tmp_path: Path) -> None:
    """The second one starts while the runner still knows the first: its lock must be free by then."""
    append = "open({0!r}, 'a').write({1!r})"
    first = replace(job(tmp_path / "a", append.format(str(tmp_path / "a" / "x"), "1"), "x"), name="first")
    code = append.format(str(tmp_path / "a" / "x"), "2") + f"; open({str(tmp_path / 'a' / 'y')!r}, 'w')"
    second = replace(job(tmp_path / "a", code, "y"), name="second")
    deadline = time.monotonic() + 20

    def watch(statuses: Sequence[Status]) -> None:
        assert time.monotonic() < deadline

    assert run_jobs([first, second], 2, watch) == {}
    assert (tmp_path / "a" / "x").read_text() == "12"


def test_a_folder_where_another_process_works_is_waited_for(tmp_path: Path) -> None:
    """As a training that outlived a killed comparison: its result counts, and nothing is started beside it."""
    (tmp_path / "a").mkdir()
    with (tmp_path / "a" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code = WRITE.format(seconds=1.0, path=str(tmp_path / "a" / "result"))
        other = subprocess.Popen([sys.executable, "-S", "-c", code], pass_fds=[lock.fileno()])
    seen: list[tuple[str, ...]] = []
    second = job(tmp_path / "a", "raise SystemExit(1)")
    jobs = [second, writing(tmp_path / "b")]
    assert run_jobs(jobs, 1, lambda statuses: seen.append(tuple(status.state for status in statuses))) == {}
    assert seen[0] == ("elsewhere", "running")
    assert seen[-1] == ("done", "done")
    assert other.wait() == 0
    assert not second.log.exists()


def test_an_interrupt_is_passed_on_and_waited_for(tmp_path: Path) -> None:
    saved, started = tmp_path / "a" / "saved", tmp_path / "a" / "started"
    code = (
        f"import pathlib, time\ntry:\n pathlib.Path({str(started)!r}).write_text('')\n"
        " time.sleep(60)\nexcept KeyboardInterrupt:\n time.sleep(0.3)\n"
        f" pathlib.Path({str(saved)!r}).write_text('')"
    )

    def stop() -> None:
        while not started.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job(tmp_path / "a", code)], 1, silent)
    assert saved.exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interrupt_while_a_process_starts_does_not_lose_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes before the parent has its handle: the child must be stopped and waited for all the same."""
    popen = subprocess.Popen
    started: list[subprocess.Popen[bytes]] = []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        process = popen(*args, **kwargs)
        started.append(process)
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job(tmp_path / "a", "import time; time.sleep(60)")], 1, silent)
    assert [process.returncode is not None for process in started] == [True]


def test_an_interrupt_ends_a_job_s_children_too(tmp_path: Path) -> None:
    """The job heeds the interrupt, the process that it has started does not."""
    pid = tmp_path / "pid"
    code = (
        "import pathlib, subprocess; p = subprocess.Popen(['sleep', '600']); "
        f"pathlib.Path({str(pid)!r}).write_text(str(p.pid)); p.wait()"
    )

    def stop(statuses: Sequence[Status]) -> None:
        if pid.exists() and pid.read_text():
            raise KeyboardInterrupt

    interrupted = job(tmp_path / "a", code)
    with pytest.raises(KeyboardInterrupt):
        run_jobs([interrupted], 1, stop)
    wait_for(lambda: not alive(int(pid.read_text())))
    (tmp_path / "a" / "result").touch()
    assert run_jobs([interrupted], 1, silent) == {}  # its lock is free again


def test_what_a_job_leaves_running_ends_with_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = (
        "import pathlib, subprocess; p = subprocess.Popen(['sleep', '600']); "
        f"pathlib.Path({str(pid)!r}).write_text(str(p.pid))"
    )
    run_jobs([job(tmp_path / "a", code)], 1, silent)
    wait_for(lambda: not alive(int(pid.read_text())))


def test_a_job_may_say_itself_whether_it_failed(tmp_path: Path) -> None:
    """Asked with the exit code, and with the folder still locked: nobody else may start in it."""
    seen: list[tuple[int, bool]] = []

    def finish(code: int) -> str | None:
        with (tmp_path / "a" / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                seen.append((code, False))
            except BlockingIOError:
                seen.append((code, True))
        return "no result" if code else None

    bad = replace(job(tmp_path / "a", "raise SystemExit(2)"), finish=finish)
    assert run_jobs([bad], 1, silent)["a"].reason == "no result"
    good = replace(job(tmp_path / "a", "pass"), finish=finish)
    assert run_jobs([good], 1, silent) == {}  # though its result is not there
    assert seen == [(2, True), (0, True)]


def test_a_job_s_own_variables_and_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    code = "import os, pathlib; pathlib.Path('result').write_text(os.environ['OMP_NUM_THREADS'] + os.environ['X'])"
    run_jobs([replace(job(tmp_path / "a", code), environment={"X": "x"}, directory=tmp_path)], 1, silent)
    assert (tmp_path / "result").read_text() == "7x"


def test_last_lines_of_any_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_lines(log) == ()
    log.write_bytes(b"\xff\n" * 9000 + b"1/2\r2/2\n\n")
    assert last_lines(log, 2) == ("1/2", "2/2")


def test_lines_are_printed_on_change(capsys: pytest.CaptureFixture[str]) -> None:
    with shown("training") as show:
        show([Status("a", "running", 1, 9, 61.0), Status("b", "waiting", 0, 9, 0.0)])
        show([Status("a", "running", 2, 9, 62.0), Status("b", "waiting", 0, 9, 0.0)])
        show([Status("a", "done", 9, 9, 63.0), Status("b", "running", 0, 9, 0.0)])
    lines = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        ["cepo:", "training:", "a", "running", "1/9", "1:01"],
        ["cepo:", "training:", "a", "done", "9/9", "1:03"],
        ["cepo:", "training:", "b", "running", "0/9"],
    ]
