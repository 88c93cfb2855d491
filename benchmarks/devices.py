"""How much sooner a step on many processes ends where they share its rows: `python benchmarks/devices.py`.

A simulation with the trainer's own dealing (`cepo.trainer.balance`) and measured costs: each process draws its groups
(live or dead) and completion lengths. Scoring waits for the busiest process; the update does in each micro-batch, since
TRL's loss gathers its metrics there, and pads to the longest completion of a process's generation. Costs of a token of
scoring and of update, and of a prompt's encoding, are measured on one thread in the same run; what is sent is
counted in bytes, not in time.

Then one process and two for real, with `balance_batch` and without (`devices_real.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from provenance import provenance, write_results

from cepo.scoring import score
from cepo.trainer.balance.deal import deal
from cepo.trainer.balance.scoring import WORTH_A_MOVE
from cepo.trainer.balance.share import Load, share
from scoring import make_rows, text_model

GROUPS, SIZE, PROMPT, ROWS = 4, 8, 400, 4
"""Of a process and a generation; tokens of a prompt; rows of a micro-batch."""
LIVE = 0.5
PIXEL_BYTES = 100 * 4 * 1536 * 4
"""Of an image of 100 tokens: four patches each, of 1,536 numbers."""


@dataclass(frozen=True)
class Costs:
    """CPU seconds, measured: of encoding a prompt, of a completion token under two contexts, of one in an update."""

    prompt: float
    token: float
    update: float

    def scoring(self, load: Load) -> float:
        """Of sequences of one group: `token` is of two contexts."""
        return self.prompt + self.token * sum(load.tokens) / 2


@dataclass(frozen=True)
class Group:
    """Completion tokens of the rows of a live group."""

    lengths: tuple[int, ...]


def measure(repetitions: int) -> Costs:
    """From groups of one size with two lengths: the slope is a token's, what is left a prompt's."""
    model = text_model(layers=4)
    short, long = (make_rows(False, 1, SIZE, (PROMPT, PROMPT), (n, n)) for n in (40, 120))
    score(model, short[:2], width=40)
    times: dict[str, list[float]] = {"short": [], "long": [], "update": []}
    for _ in range(repetitions):
        times["short"].append(_cpu(lambda: score(model, short, width=40)))
        times["long"].append(_cpu(lambda: score(model, long, width=120)))
        times["update"].append(_cpu(lambda: _update(model)))
    short_s, long_s, update_s = (statistics.median(times[name]) for name in times)
    token = (long_s - short_s) / (SIZE * 80)
    return Costs(max(0.0, short_s - token * SIZE * 40), token, update_s / (2 * 120))


def _update(model: Any) -> None:
    ids = torch.randint(10, 1000, (2, 120))
    model(input_ids=ids, labels=ids).loss.backward()
    model.zero_grad()


def _cpu(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def draw(rng: Random, processes: int) -> list[list[Group]]:
    """Live groups of each process; lengths are log-normal around 150, 512 at most."""

    def group() -> Group:
        return Group(tuple(min(512, max(8, round(rng.lognormvariate(5.0, 0.5)))) for _ in range(SIZE)))

    return [[group() for _ in range(GROUPS) if rng.random() < LIVE] for _ in range(processes)]


def busiest(costs: Costs, drawn: list[list[Group]], rng: Random) -> dict[str, float]:
    """Seconds that a step waits for scoring and for the update, as drawn and shared; and the mean, without padding."""
    everyones = [[_load(group) for group in own] for own in drawn]
    scoring = [sum(map(costs.scoring, own)) for own in everyones]
    after = [list(own) for own in scoring_after(costs, everyones)]
    live = [dict(enumerate(PROMPT + length for group in own for length in group.lengths)) for own in drawn]
    dealt = deal(live, GROUPS * SIZE // ROWS)
    tokens = [[[live[place.process][place.row] for place in own] for own in shares] for shares in dealt]
    return {
        "scoring": max(scoring),
        "scoring, shared": max(map(sum, after)),
        "update": costs.update * update_as_drawn(live, rng),
        "update, dealt": costs.update * sum(max(map(_padded, shares)) for shares in tokens),
        "mean": statistics.mean(scoring) + costs.update * statistics.mean(sum(own.values()) for own in live),
    }


def _load(group: Group) -> Load:
    """A row under both contexts."""
    tokens = [length for length in group.lengths for _ in range(2)]
    return Load(PROMPT, tokens, range(len(tokens)))


def scoring_after(costs: Costs, everyones: list[list[Load]]) -> list[list[float]]:
    """Seconds of each process's groups, own and others', once the moves are made."""
    numbered, start = [], 0
    for own in everyones:
        numbered.append([])
        for load in own:
            numbered[-1].append(Load(load.prefix, load.tokens, range(start, start + len(load.tokens))))
            start += len(load.tokens)
    homes = {index: process for process, own in enumerate(numbered) for load in own for index in load.indices}
    for move in share(numbered, WORTH_A_MOVE):
        homes |= dict.fromkeys(move.indices, move.to)
    found: list[list[float]] = [[] for _ in numbered]
    for load in (load for own in numbered for load in own):
        for process in {homes[index] for index in load.indices}:
            pairs = zip(load.indices, load.tokens, strict=True)
            tokens = [count for index, count in pairs if homes[index] == process]
            found[process].append(costs.scoring(Load(load.prefix, tokens, [])))
    return found


def update_as_drawn(live: list[dict[int, int]], rng: Random) -> int:
    """Padded tokens that are waited for: rows are shuffled and cut into micro-batches, and dead ones left out."""
    waited = []
    orders = [rng.sample(range(GROUPS * SIZE), GROUPS * SIZE) for _ in live]
    longest = [max(own.values(), default=PROMPT + 1) for own in live]
    for start in range(0, GROUPS * SIZE, ROWS):
        counts = [
            sum(row in own for row in order[start : start + ROWS]) for own, order in zip(live, orders, strict=True)
        ]
        waited.append(max(1, *counts) * max(longest))
    return sum(waited)


def _padded(tokens: list[int]) -> int:
    return len(tokens) * max(tokens, default=0)


def bytes_moved(drawn: list[list[Group]]) -> float:
    """Of one process, at most: ids and log-probs of the half of its groups that others score, its live rows, images."""
    rows = statistics.mean(sum(len(group.lengths) for group in own) for own in drawn)
    tokens = statistics.mean(sum(sum(group.lengths) + PROMPT * len(group.lengths) for group in own) for own in drawn)
    return tokens * 8 * 4 + rows * PIXEL_BYTES


def for_real(processes: int) -> dict[str, Any]:
    """What `devices_real.py` finds with so many processes, one thread each."""
    script = Path(__file__).with_name("devices_real.py")
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *launcher, str(script), str(out)], check=True, env=environment)
        return json.loads(out.read_text())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--draws", type=int, default=60)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/devices.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    costs, rng = measure(options.repetitions), Random(0)
    print(costs)
    results: dict[str, Any] = {"made_by": provenance(1), "costs": costs.__dict__, "draws": options.draws}
    for processes in (2, 8, 64, 1024):
        drawn = [draw(rng, processes) for _ in range(max(8, options.draws * 8 // processes))]
        found = [busiest(costs, one, rng) for one in drawn]
        means = {name: statistics.mean(one[name] for one in found) for name in found[0]}
        results[str(processes)] = means | {"bytes": statistics.mean(map(bytes_moved, drawn))}
        before, after = means["scoring"] + means["update"], means["scoring, shared"] + means["update, dealt"]
        scoring, update = (means[f"{p}, {how}"] / means[p] for p, how in (("scoring", "shared"), ("update", "dealt")))
        print(f"{processes:5d} processes: scoring {scoring:.2f}, update {update:.2f}, both {after / before:.2f}")
        print(f"      of what they are as drawn; the mean without padding {means['mean'] / before:.2f}")
    results["for real"] = {str(processes): for_real(processes) for processes in (1, 2)}
    for processes, found in results["for real"].items():
        ratios = ", ".join(f"{kind} {found['dealt'][kind] / found['as drawn'][kind]:.2f}" for kind in ("cpu", "clock"))
        print(f"{processes} for real, dealt over as drawn: {ratios}; weights apart {found['parameters apart']:.1e}")
    if options.keep:
        print(write_results("devices", results))


if __name__ == "__main__":
    main()
