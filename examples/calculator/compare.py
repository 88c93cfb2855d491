"""`decisive` and `grpo` from one warm start, with the same seeds. `python examples/calculator/compare.py SEEDS FILE`"""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from pathlib import Path
from statistics import fmean

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
    for method in METHODS:
        print(f"{method}: {fmean(one['after'] for one in found if one['method'] == method):.1%} after, {seeds} seeds")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
