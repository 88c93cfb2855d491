"""Makes tests/suite/results: files that lmms-eval 0.7.3 really wrote for the paper's five tasks.

The tasks' own code (prompts, grading, aggregation) on our diagrams in the five data sets' schemas, for their hub
cannot be reached here: 8 rows each, answered by the embedded model. Run by hand:

    .venv/bin/python tests/suite/make_results.py ~/lmms/bin/python /tmp/made
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from datasets import Dataset, DatasetDict

from cepo.geometry import generate
from cepo.lab.suite.checkpoint import Checkpoint, open_checkpoint
from cepo.lab.suite.command import Settings, lmms_command
from cepo.lab.suite.tasks import PAPER, Suite
from cepo.models.embedded import EMBEDDED

HERE = Path(__file__).parent
ROWS = 8
FOLDERS = {
    "dynamath_reasoning": ("dynamath/reasoning", "test"),
    "logicvista_reasoning": ("logicvista/reasoning", "test"),
    "mathvision_testmini": ("mathvision", "testmini"),
    "mmmu_val": ("mmmu", "validation"),
    "wemath_testmini_reasoning": ("wemath/reasoning", "testmini"),
}


def rows(task: str) -> list[dict]:
    import io

    from PIL import Image

    made = []
    for i, problem in enumerate(generate("held_out", ROWS, seed=0)):
        image = Image.open(io.BytesIO(problem.image_png)).convert("RGB")
        question = f"{problem.question}\nPut the final answer in \\boxed{{}}."
        step = ["2steps_1", "2steps_2", "2steps_multi", "2steps_1", "3steps_1", "3steps_2", "3steps_3", "3steps_multi"][
            i
        ]
        every = {"question": question, "answer": problem.answer}
        made.append(
            {
                "dynamath_reasoning": {
                    "question": question, "ground_truth": problem.answer, "decoded_image": image,
                    "question_id": str(i), "id": str(i // 2),
                },
                "logicvista_reasoning": every | {"image": image},
                "mathvision_testmini": every | {"decoded_image": image, "options": []},
                "mmmu_val": every | {
                    "image_1": image, "question_type": "open", "options": "[]", "id": f"validation_Math_{i}",
                },
                "wemath_testmini_reasoning": every | {
                    "image_path": image, "option": "", "ID": str(i // 4), "split": "testmini", "key": step,
                    "question number": i, "knowledge concept": "angles", "knowledge concept description": "angles",
                },
            }[task]
        )  # fmt: skip
    return made


def prepare(python: Path, work: Path) -> Path:
    """A copy of lmms-eval whose five tasks read their data from `work`; the folder that holds it."""
    where = [python, "-c", "import importlib.util as u; print(u.find_spec('lmms_eval').submodule_search_locations[0])"]
    package = Path(subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip())
    copy = work / "pythonpath" / "lmms_eval"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for task, (folder, split) in FOLDERS.items():
        data = work / "data" / task
        DatasetDict({split: Dataset.from_list(rows(task))}).save_to_disk(data)
        for file in (copy / "tasks" / folder).iterdir():
            if file.suffix == ".yaml" or file.name.endswith("_yaml"):
                file.write_text(reading_from(data, file.read_text()))
            elif file.name == "utils.py":  # the embedded model has never seen a system message
                file.write_text(
                    re.sub(r"SYSTEM_PROMPT = \(.*?\n\)", 'SYSTEM_PROMPT = ""', file.read_text(), flags=re.DOTALL)
                )
    return copy.parent


def reading_from(data: Path, yaml: str) -> str:
    out, skip = [], False
    for line in yaml.splitlines():
        skip = line.startswith("dataset_kwargs") or (skip and line.startswith(" "))
        if line.startswith("dataset_path"):
            out += [f"dataset_path: {data}", "dataset_kwargs:", "  load_from_disk: true"]
        elif not skip:
            out.append(line)
    return "\n".join(out) + "\n"


def main(python: Path, work: Path) -> None:
    lmms_eval = prepare(python, work)
    model = open_checkpoint(Checkpoint("tiny", str(EMBEDDED)), work / "checkpoint")
    settings = Settings(python, device="cpu", batch_size=8, max_new_tokens=64)
    environment = dict(os.environ) | {"HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = f"{HERE / 'cpu_torchvision'}{os.pathsep}{lmms_eval}"
    (HERE / "results").mkdir(exist_ok=True)
    for benchmark in PAPER.benchmarks:
        out = work / "out" / benchmark.task
        suite = Suite("made", (benchmark,), 64, (("system_prompt", ""),))
        command = lmms_command(settings, suite, benchmark, model, out)
        subprocess.run(command, env=environment, check=True)
        (file,) = out.rglob("*_results.json")
        shutil.copy(file, HERE / "results" / f"{benchmark.task}.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
