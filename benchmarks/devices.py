"""How much sooner a step on many processes ends when scoring is shared out evenly: `python benchmarks/devices.py`.

A simulation with measured costs. Each process draws its groups (live or dead) and completion lengths; a step waits for
the busiest. Costs of a token of scoring and of update, and of a prompt's encoding, are measured on one thread in the
same run. Compared are: as it is; scoring shared by whole groups (a prompt is encoded once still), by half groups and by
rows (what is split encodes its prompt again); and the update's live rows shared too, which needs whole weights on each
process (DDP). What is sent is counted in bytes, not in time: token ids, log-probs back, and images.
"""

from __future__ import annotations

import argparse
import heapq
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from provenance import provenance, write_results

from cepo.scoring import score
from scoring import make_rows, text_model

GROUPS, SIZE, PROMPT = 4, 8, 400
LIVE = 0.5
PIXEL_BYTES = 100 * 4 * 1536 * 4
"""Of an image of 100 tokens: four patches each, of 1,536 numbers."""


@dataclass(frozen=True)
class Costs:
    """CPU seconds, measured: of encoding a prompt, of a completion token under two contexts, of one in an update."""

    prompt: float
    token: float
    update: float


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


def scoring_s(costs: Costs, group: Group) -> float:
    return costs.prompt + costs.token * sum(group.lengths)


def update_s(costs: Costs, group: Group) -> float:
    return costs.update * sum(length + PROMPT for length in group.lengths)


def shared(jobs: list[float], bins: int) -> float:
    """The busiest of `bins` when the longest job goes first to the least busy."""
    loads = [0.0] * bins
    for job in sorted(jobs, reverse=True):
        heapq.heapreplace(loads, loads[0] + job)
    return max(loads)


def busiest(costs: Costs, drawn: list[list[Group]]) -> dict[str, float]:
    """Seconds that a step waits for scoring and update, by how the work is shared."""
    n, groups = len(drawn), [group for own in drawn for group in own]
    scoring = [sum(scoring_s(costs, group) for group in own) for own in drawn]
    update = [sum(update_s(costs, group) for group in own) for own in drawn]
    half = [costs.prompt + costs.token * sum(part) for g in groups for part in (g.lengths[::2], g.lengths[1::2])]
    row = [costs.prompt + costs.token * length for group in groups for length in group.lengths]
    whole = shared([scoring_s(costs, group) for group in groups], n)
    return {
        "as it is": max(scoring) + max(update),
        "scoring by groups": whole + max(update),
        "scoring by half groups": shared(half, n) + max(update),
        "scoring by rows": shared(row, n) + max(update),
        "scoring and update": min(whole, shared(half, n))
        + shared([costs.update * (length + PROMPT) for group in groups for length in group.lengths], n),
        "scoring alone, as it is": max(scoring),
        "scoring alone, by half groups": shared(half, n),
        "mean": statistics.mean(scoring) + statistics.mean(update),
    }


def bytes_moved(drawn: list[list[Group]]) -> float:
    """At most, of one process: ids and log-probs of the half of its groups that others score, and their images."""
    tokens = statistics.mean(sum(sum(group.lengths) for group in own) for own in drawn) / 2
    images = statistics.mean(len(own) for own in drawn) / 2 * PIXEL_BYTES
    return tokens * (4 + 2 * 4) + images


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
        found = [busiest(costs, one) for one in drawn]
        means = {name: statistics.mean(one[name] for one in found) for name in found[0]}
        results[str(processes)] = means | {"bytes": statistics.mean(map(bytes_moved, drawn))}
        base = means["as it is"]
        parts = ", ".join(f"{name} {value / base:.2f}" for name, value in means.items() if "alone" not in name)
        alone = means["scoring alone, by half groups"] / means["scoring alone, as it is"]
        print(f"{processes:5d} processes: {parts}; scoring alone by half groups {alone:.2f}")
    if options.keep:
        print(write_results("devices", results))


if __name__ == "__main__":
    main()
