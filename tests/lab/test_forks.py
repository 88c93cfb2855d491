"""Forked jobs: fresh processes that print to their log, hold their folder's lock, die alone and outlive us."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cepo.lab.forks import Main
from cepo.lab.jobs import Job, run_jobs
from tests.lab.test_jobs import alive, silent, wait_for

HERE = "tests.lab.test_forks"
SEEN: list[str] = []


@pytest.fixture(autouse=True)
def no_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cepo.lab.forks.LOADED", ())


def tell(arguments: list[str]) -> int:
    """Says who it is, and leaves a trace in its own memory that a next job must not see."""
    SEEN.append(arguments[0])
    print(f"{SEEN} {os.environ['OMP_NUM_THREADS']} {os.getpgid(0) == os.getpid()} {sys.stdin.read()!r}")
    print("error", file=sys.stderr)
    Path(arguments[0], "result").write_text("done")
    return 0


def die(arguments: list[str]) -> int:
    if arguments[1] == "signal":
        os.kill(os.getpid(), signal.SIGKILL)
    if arguments[1] == "error":
        raise ValueError("no")
    return 3


def stay(arguments: list[str]) -> int:
    time.sleep(float(arguments[1]))
    Path(arguments[0], "result").write_text("done")
    return 0


def job(folder: Path, function: str, *arguments: str) -> Job:
    return Job(
        name=folder.name,
        folder=folder,
        log=folder / "log",
        command=Main(f"{HERE}:{function}", [str(folder), *arguments]),
        done=lambda: (folder / "result").is_file(),
        progress=lambda: (0, 1),
    )


def test_every_job_is_fresh_and_says_what_it_says_in_its_own_log(tmp_path: Path) -> None:
    jobs = [job(tmp_path / name, "tell") for name in "ab"]
    assert run_jobs(jobs, 1, silent) == {}
    for one in jobs:
        lines = one.log.read_text().splitlines()
        assert sorted(lines) == sorted([f"{[str(one.folder)]} 1 True ''", "error"])
    assert not SEEN


def test_a_failure_is_told_as_a_command_s_is_and_stops_nobody(tmp_path: Path) -> None:
    kinds = ("code", "signal", "error")
    failures = run_jobs([*(job(tmp_path / k, "die", k) for k in kinds), job(tmp_path / "good", "tell")], 2, silent)
    assert {name: failure.reason for name, failure in failures.items()} == {
        "code": "it ended with exit code 3",
        "signal": "it was killed by SIGKILL",
        "error": "it ended with exit code 1",
    }
    assert failures["error"].tail[-1] == "ValueError: no"
    assert (tmp_path / "good" / "result").is_file()


def test_it_outlives_a_killed_comparison_and_holds_its_folder(tmp_path: Path) -> None:
    """The second call finds the folder locked, waits for the orphan, and starts nothing itself."""
    code = (
        "from pathlib import Path\nfrom cepo.lab import forks\nfrom cepo.lab.jobs import run_jobs\n"
        "from tests.lab.test_forks import job, silent\n"
        "if __name__ == '__main__':\n"
        f"    forks.LOADED = ()\n    run_jobs([job(Path({str(tmp_path / 'a')!r}), 'stay', '4')], 1, silent)\n"
    )
    script = tmp_path / "first.py"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": f"{Path.cwd()}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    first = subprocess.Popen([sys.executable, str(script)], env=environment)
    lock = tmp_path / "a" / "lock"
    deadline = time.monotonic() + 60
    while not (lock.is_file() and lock.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pid = int(lock.read_text())
    first.kill()
    first.wait()
    assert alive(pid)
    with lock.open("a") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert run_jobs([job(tmp_path / "a", "die", "code")], 1, silent) == {}
    wait_for(lambda: not alive(pid))
