"""Rollouts of chain problems, as `cepo audit MODEL --data chain --completions FILE` takes them.

    python experiments/audit/draw_chain_rollouts.py --out /tmp/chain_rollouts.jsonl

They are solutions of `cepo.chain.policy.Misconceptions`, the policy that `tiny-text` was warm-started on: the model
that is audited is their reader and teacher, not their author.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random

from cepo.answers import grade
from cepo.chain.policy import Misconceptions
from cepo.chain.problems import Chain
from cepo.chain.wording import solution
from cepo.data.datasets import DataSpec, load_data


def drawn(options: argparse.Namespace) -> list[dict[str, str]]:
    """Rows of the file: a problem's completions side by side, problems in the data's order."""
    spec = DataSpec(f"chain:steps={options.steps},fillers={options.fillers}", options.split, limit=options.problems)
    policy, rows = Misconceptions(), []
    for row in load_data(spec):
        assert isinstance(row, dict)
        chain, rng = Chain.parse(row["chain"]), Random(f"rollouts/{options.seed}/{row['id']}")
        for _ in range(options.rollouts):
            text = solution(policy.work(chain, rng), options.fillers, rng)
            rows.append({"id": row["id"], "completion": text, "answer": row["answer"]})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument("--rollouts", type=int, default=8, help="of each problem")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--fillers", type=int, default=3)
    parser.add_argument(
        "--seed", type=int, default=0, help="of the rollouts; problems are those of the audit's --seed 0"
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = drawn(options)
    right = sum(grade(row["completion"], row.pop("answer")) for row in rows)
    options.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"wrote {options.out}: {len(rows)} completions of {options.problems} problems, {right} of them right")


if __name__ == "__main__":
    main()
