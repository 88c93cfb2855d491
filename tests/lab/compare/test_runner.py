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
from pathlib import Path
from typing import Any

import pytest

from cepo.lab.compare.progress import shown
from cepo.lab.compare.runner import Job, Status, last_lines, run_jobs

WRITE = "import pathlib, time; time.sleep({seconds}); pathlib.Path({path!r}).write_text('done')"


def job(folder: Path, code: str, result: str = "result", prepare: Callable[[], object] = lambda: None) -> Job:
    """A job whose Python code is to write `result` into the folder."""
    return Job(
        name=folder.name,
        folder=folder,
        log="train",
        command=[sys.executable, "-S", "-c", code],
        prepare=prepare,
        done=lambda: (folder / result).is_file(),
        progress=lambda: (int((folder / result).is_file()), 1),
    )


def writing(folder: Path, seconds: float = 0.0) -> Job:
    return job(folder, WRITE.format(seconds=seconds, path=str(folder / "result")))


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
    assert not second.log_file.exists()


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
