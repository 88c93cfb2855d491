"""`make chaos`: what becomes of runs that are killed, starved, damaged and started twice. Figures: docs/reliability.md.

Every event ends in one of two ways: the same command makes the run's own model, equal to the bit to that of a run that
nothing happened to; or it says in one line what is wrong, and goes on equal once that is mended. A process is forked
for each command, so that an event costs seconds.
"""

from __future__ import annotations

import argparse
import atexit
import collections
import contextlib
import faulthandler
import fcntl
import io
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from tqdm import tqdm

from cepo.cli import main
from tests.chaos.events import POINTS, SIGNALS, at_point, clock_jump, damage_a_file, full_disk, old_times
from tests.runs.small import write_recipe

STEPS = 3
NEVER_RAN = 99
"""A child's exit code where an error came out of the command, or came before it."""
METHODS = ({"method": "grpo"}, {"method": "cepo"}, {"method": "cepo", "teacher_weights": "ema"}, {"method": "rlsd"},
           {"method": "opsd"}, {"method": "sdpo"})  # fmt: skip
TUNINGS = ({}, {"lora_rank": 2})
Fields = dict[str, Any]
Mend = Callable[[], None] | None
"""Brings back what an event has broken in a run's folder; None: nothing has to be."""


@dataclass
class Bench:
    """Where the runs lie, and the uninterrupted run of each cell with its seconds."""

    root: Path
    recipe: Path
    references: dict[str, tuple[Path, float]]

    def command(self, folder: Path, fields: Fields) -> list[str]:
        words = [word for name, value in fields.items() for word in (f"--{name}", str(value))]
        return ["train", "--config", str(self.recipe), "--output_dir", str(folder), *words]

    def reference(self, fields: Fields, world: int = 1) -> tuple[Path, float]:
        fields = {name: value for name, value in fields.items() if name != "save_total_limit"}  # changes no number
        key = json.dumps([fields, world], sort_keys=True)
        if key not in self.references:
            folder, started = self.root / f"whole{len(self.references)}", time.monotonic()
            ended = [finish(one) for one in self.start(folder, fields, world)]
            assert {code for code, _ in ended} == {0}, (fields, [(code, said[-600:]) for code, said in ended])
            self.references[key] = (folder, time.monotonic() - started)
        return self.references[key]

    def start(
        self, folder: Path, fields: Fields, world: int = 1, before: Callable[[], None] | None = None
    ) -> list[Child]:
        port = free_port() if world > 1 else 0
        return [fork(self.command(folder, fields), rank, world, port, before) for rank in range(world)]


@dataclass
class Child:
    """A forked command. What it says comes through a pipe: a full disk is its own, not that of its log."""

    pid: int
    pipe: int

    def said(self) -> str:
        os.set_blocking(self.pipe, False)  # a grandchild may hold the other end
        try:
            return os.read(self.pipe, 2**20).decode(errors="replace")
        except BlockingIOError:
            return ""
        finally:
            os.close(self.pipe)


def fork(words: list[str], rank: int, world: int, port: int, before: Callable[[], None] | None) -> Child:
    """A process that runs the command."""
    pipe, handle = os.pipe()
    fcntl.fcntl(handle, fcntl.F_SETPIPE_SZ, 2**20)  # all that it says, before anybody reads
    pid = os.fork()
    if pid:
        os.close(handle)
        return Child(pid, pipe)
    code = NEVER_RAN
    try:
        for number in (1, 2):
            os.dup2(handle, number)
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        atexit._clear()
        AcceleratorState._reset_state(True)
        tqdm.set_lock(threading.RLock())  # forks share tqdm's own, which a killed one may hold for ever
        if world > 1:
            distributed = {"WORLD_SIZE": world, "RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world,
                           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}  # fmt: skip
            os.environ.update({key: str(value) for key, value in distributed.items()})
        if before is not None:
            before()
        code = main(words)
        sys.stdout.flush()
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT  # before the command could answer it
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def finish(child: Child, seconds: float = 120.0) -> tuple[int, str]:
    """Exit code (negative: the signal that ended it) and what was printed; a process that hangs is killed: -99."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if pid:
            code, said = os.waitstatus_to_exitcode(status), child.said()
            assert code != NEVER_RAN, f"the event itself failed: {said[-800:]}"
            return code, said
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGUSR1)  # says where it stands
    time.sleep(1.0)
    os.kill(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)
    return -99, child.said()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def random_kill(bench: Bench, random: Random, folder: Path, fields: Fields) -> Mend:
    number, moment = random.choice(SIGNALS), random.uniform(0.05, 1.0) * bench.reference(fields)[1]
    (child,) = bench.start(folder, fields)
    time.sleep(moment)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, number)
    finish(child)
    return None


def kill_at_a_point(bench: Bench, random: Random, folder: Path, fields: Fields, jump: float = 0.0) -> Mend:
    number = random.choice(SIGNALS)
    hit_at_a_point(bench, random, folder, fields, lambda: os.kill(os.getpid(), number), jump)
    return None


def disk_full(bench: Bench, random: Random, folder: Path, fields: Fields) -> Mend:
    code, said = hit_at_a_point(bench, random, folder, fields, full_disk)
    assert code in (0, 2), f"exit {code}: {said[-800:]}"
    return None


def clock(bench: Bench, random: Random, folder: Path, fields: Fields) -> Mend:
    kill_at_a_point(bench, random, folder, fields, random.uniform(-1, 1) * 86400)
    old_times(folder, random)
    return None


def damaged_file(bench: Bench, random: Random, folder: Path, fields: Fields) -> Mend:
    kill_at_a_point(bench, random, folder, fields)
    return damage_a_file(folder, random)


def hit_at_a_point(
    bench: Bench, random: Random, folder: Path, fields: Fields, hit: Callable[[], None], jump: float = 0.0
) -> tuple[int, str]:
    """A command that `hit` comes over at some point of it; its exit code and what it said."""
    point, call, after = random.choice(list(POINTS)), random.randint(1, 2 * STEPS), random.random() < 0.5

    def reached() -> None:
        (bench.root / "reached" / point).touch()
        hit()

    def before() -> None:
        clock_jump(jump)
        at_point(point, call, after, reached)

    (child,) = bench.start(folder, fields, before=before)
    return finish(child)


def second_process(bench: Bench, random: Random, folder: Path, fields: Fields) -> Mend:
    (first,) = bench.start(folder, fields)
    while not (folder / "run.lock").exists() or not (folder / "run.lock").stat().st_size:
        time.sleep(0.01)
    (second,) = bench.start(folder, fields)
    code, said = finish(second)
    first_code, _ = finish(first)
    told = code == 2 and f"process {first.pid} on" in said
    assert first_code == 0
    assert told or "already finished" in said, said[-400:]
    return None


def two_processes(bench: Bench, random: Random, folder: Path, fields: Fields) -> Mend:
    number = random.choice(SIGNALS)
    _, seconds = bench.reference(fields, world=2)
    both = bench.start(folder, fields, world=2)
    time.sleep(random.uniform(0.1, 0.95) * seconds)
    for child in both:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, number)
    for child in both:
        finish(child)
    return None


KINDS: dict[str, tuple[Callable[[Bench, Random, Path, Fields], Mend], int]] = {
    "random kill": (random_kill, 5),
    "kill at a point": (kill_at_a_point, 9),
    "full disk": (disk_full, 3),
    "second process": (second_process, 1),
    "damaged file": (damaged_file, 5),
    "clock jump": (clock, 2),
    "two processes": (two_processes, 1),
}
"""Kind of event -> what it does, and how often among the sum of these."""


def verdict(bench: Bench, folder: Path, fields: Fields, world: int, mend: Callable[[], None] | None) -> str:
    """`equal`, or `told, then equal`; AssertionError: neither."""
    whole, _ = bench.reference(fields, world)
    outcome, said = "equal", ""
    for _ in range(2):
        ended = [finish(child) for child in bench.start(folder, fields, world)]
        if all(code == 0 for code, _ in ended):
            break
        code, said = ended[0]
        lines = [line for line in said.splitlines() if line.startswith("cepo: error: ")]
        assert (code, len(lines)) == (2, 1), f"exit {code}: {said[-800:]}"
        assert mend is not None, f"refused, though nothing is broken: {lines[0]}"
        outcome = "told, then equal"
        mend()
    else:
        raise AssertionError(f"still refused once it was mended: {said[-600:]}")
    (file,) = (folder / "model").glob("*model.safetensors")
    one, other = load_file(file), load_file(whole / "model" / file.name)
    assert all(one[name].equal(other[name]) for name in one.keys() | other.keys()), "another model"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["state"], summary["steps"]) == ("finished", STEPS), summary
    assert not list(folder.rglob("*.part")), "a half-written file is left"
    return outcome


def run(events: Iterable[int], minutes: float, seed: int) -> int:
    root = Path(tempfile.mkdtemp(prefix="chaos-"))
    os.environ["TMPDIR"] = str(root / "tmp")
    for name in ("tmp", "reached"):
        (root / name).mkdir()
    fields = {"max_steps": STEPS, "max_completion_length": 4, "eval_data": str(root / "small" / "sums.jsonl")}
    with contextlib.redirect_stderr(io.StringIO()):
        recipe = write_recipe(root / "small", **fields)
    bench, counts, failed = Bench(root, recipe, {}), collections.Counter[tuple[str, str]](), []
    started, weights = time.monotonic(), [often for _, often in KINDS.values()]
    for number in events:
        if time.monotonic() - started > 60 * minutes:
            break
        random = Random(f"{seed}/{number}")
        kind = random.choices(list(KINDS), weights)[0]
        cell = {**random.choice(METHODS), **random.choice(TUNINGS), "save_total_limit": random.choice((1, 2))}
        folder, world = root / f"run{number}", 2 if kind == "two processes" else 1
        tempfile.tempdir = None
        try:
            mend = KINDS[kind][0](bench, random, folder, cell)
            counts[kind, verdict(bench, folder, cell, world, mend)] += 1
        except Exception as error:
            failed.append(f"event {number} ({kind}, {cell}): {type(error).__name__} {error}")
            counts[kind, "FAILED"] += 1
            print(failed[-1], flush=True)
        print(f"{number}: {kind}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    report(counts, failed, time.monotonic() - started, seed)
    print("points never reached:", sorted(POINTS.keys() - {file.name for file in (root / "reached").iterdir()}))
    shutil.rmtree(root, ignore_errors=True)
    return 1 if failed else 0


def report(counts: collections.Counter[tuple[str, str]], failed: list[str], seconds: float, seed: int) -> None:
    outcomes = ("equal", "told, then equal", "FAILED")
    print(f"\n{sum(counts.values())} events in {seconds:.0f} s, seed {seed}\n")
    print("| event | " + " | ".join(outcomes) + " |\n|---|---|---|---|")
    for kind in KINDS:
        print(f"| {kind} | " + " | ".join(str(counts[kind, outcome]) for outcome in outcomes) + " |")
    print(f"\n{len(failed)} failed")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=220)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first event")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of events, to look at them again")
    options = parser.parse_args()
    events = options.only or range(options.first, options.first + options.events)
    sys.exit(run(events, options.minutes, options.seed))
