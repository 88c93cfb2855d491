"""Data of one's own, with images: a JSONL file whose columns have other names. `python examples/own_data.py`

The same goes for Parquet, CSV, folders of `datasets.save_to_disk` and hub ids. Every row is checked before anything
is generated; an answer that the grader cannot read or an image that does not open is an error that names the row.
"""

from __future__ import annotations

import json
from pathlib import Path

from cepo import EMBEDDED, CEPOConfig, CEPOTrainer, DataSpec, accuracy_reward, generate_problems, load_data


def write_data(folder: Path, count: int) -> Path:
    """Stands for your data: one JSON object per line, images as paths beside the file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "train.jsonl").open("w") as file:
        for number, problem in enumerate(generate_problems("train", count, seed=0)):
            (folder / f"{number}.png").write_bytes(problem.image_png)
            row = {"question_text": problem.question, "picture": f"{number}.png", "target": problem.answer}
            file.write(json.dumps(row) + "\n")
    return folder / "train.jsonl"


def main(output_dir: str = "runs/own-data", max_steps: int = 3) -> CEPOTrainer:
    path = write_data(Path(output_dir) / "data", count=32)
    dataset = load_data(
        DataSpec(str(path), columns={"prompt": "question_text", "images": "picture", "answer": "target"})
    )
    config = CEPOConfig(
        output_dir=output_dir,
        max_steps=max_steps,
        per_device_train_batch_size=16,
        num_generations=8,
        max_completion_length=64,
        learning_rate=1e-4,
        logging_steps=1,
        bf16=False,
        report_to=[],
        save_strategy="no",
    )
    trainer = CEPOTrainer(str(EMBEDDED), accuracy_reward, config, train_dataset=dataset)
    trainer.train()
    print(f"trained on {len(dataset)} rows of {path}")
    return trainer


if __name__ == "__main__":
    main()
