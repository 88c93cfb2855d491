"""The model and the problems of `recipe.yaml`, as files. `python examples/calculator/prepare.py`"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from training import rows, start

FOLDER = "runs/calculator-start"


def main(folder: str = FOLDER) -> None:
    out = Path(folder)
    model, tokenizer = start()
    model.save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")
    for split, count in (("train", 2000), ("held_out", 64)):
        (out / f"{split}.jsonl").write_text("".join(map(_line, enumerate(rows(split, count)))))
    print(f"model and problems are in {out}; next: cepo train --config examples/calculator/recipe.yaml")


def _line(numbered: tuple[int, Any]) -> str:
    number, row = numbered
    return json.dumps({"id": f"calculator-{number}", **row}) + "\n"


if __name__ == "__main__":
    main(*sys.argv[1:])
