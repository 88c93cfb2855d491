"""Token-level credit in conversations with a tool, from nothing to a report. `python examples/calculator`

Chains of four dependent steps, each to be asked of a calculator. A small model is taught to do so by a policy that
often asks for the wrong thing (`warm_start.py`), then trained by reinforcement learning with TRL's `tools`. What the
tool says gets no credit and no loss; of what the model says, most goes to the call that won or lost the rollout.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from training import Figures, in_words, start, train

RUN = "runs/calculator"


def main(output_dir: str = RUN) -> Figures:
    began = time.monotonic()
    model, tokenizer = start()
    warm = time.monotonic() - began
    found = train(model, tokenizer, output_dir)
    subprocess.run([sys.executable, "-m", "cepo.cli", "report", output_dir], check=True)
    print(f"warm start {warm:.0f} s; {in_words(found)}")
    print(f"credit by turn: open {Path(output_dir) / 'report.html'}, or cepo show {output_dir} --row 1")
    return found


if __name__ == "__main__":
    main()
