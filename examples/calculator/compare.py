"""`decisive` and `grpo` from one warm start, with the same seeds. `python examples/calculator/compare.py SEEDS FILE`"""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from pathlib import Path
from statistics import fmean

from scipy import stats
from training import Figures, in_words, start, train

METHODS = ("decisive", "grpo")


def main(seeds: int, out: Path) -> None:
    """Write every run's figures to `out`, and print the mean accuracy of each method."""
    model, tokenizer = start()
    found: list[Figures] = []
    for seed in range(seeds):
        for method in METHODS:
            found.append(train(deepcopy(model), tokenizer, f"runs/calculator-{method}-{seed}", method, seed))
            print(in_words(found[-1]))
            out.write_text(json.dumps(found, indent=1) + "\n")
    print(verdict(found))


def verdict(found: list[Figures]) -> str:
    """The mean accuracy of each method after training, and their difference by seed with its 95% interval."""
    theirs = {method: [one["after"] for one in found if one["method"] == method] for method in METHODS}
    differences = [a - b for a, b in zip(*theirs.values(), strict=True)]
    low, high = stats.t.interval(0.95, len(differences) - 1, fmean(differences), stats.sem(differences))
    lines = [f"{method}: {fmean(values):.1%} after, {len(values)} seeds" for method, values in theirs.items()]
    by_seed = " ".join(f"{100 * value:+.1f}" for value in differences)
    mean = f"{100 * fmean(differences):+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    return "\n".join([*lines, f"{' - '.join(METHODS)}: {mean} points (by seed: {by_seed})"])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
