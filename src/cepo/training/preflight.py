"""What can be known to be wrong before anything is generated, said in one sentence each."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from datasets import Dataset

from cepo.answers import why_not_gradable
from cepo.tasks.rewards import preflight_rewards

if TYPE_CHECKING:
    from cepo.training.trainer import CEPOTrainer

__all__ = ["check_folder", "check_resampling", "preflight"]

SHOWN = 5
LENGTH_SAMPLE = 64
FREE_BYTES = 64 * 2**20


def preflight(trainer: CEPOTrainer) -> None:
    """Check the data, the rewards and the lengths; the run folder has been checked before the model was touched.

    Raises:
        ValueError, RewardError: the first thing found wrong, with the value and what to do.
    """
    dataset = trainer.train_dataset
    if not isinstance(dataset, Dataset):  # a stream can only be looked at by consuming it
        return
    if len(dataset) == 0:
        raise ValueError("the training data set is empty")
    if trainer.method.teachers:
        check_answers(dataset, trainer.args.answer_column, trainer.args.wrong_reward, trainer.reward_func_names)
    rows = [dataset[index] for index in range(min(2, len(dataset)))]
    functions = [function for function in trainer.reward_funcs if callable(function) and hasattr(function, "__name__")]
    preflight_rewards(functions, rows, trainer.args.reward_timeout, trainer_state=trainer.state)
    check_lengths(trainer, dataset)


def check_folder(folder: Path) -> None:
    """The run folder can be written, and its disk is not full."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"cepo")
    except OSError as error:
        raise OSError(
            f"cannot write to the run folder {folder} ({error.strerror}); choose another --output_dir"
        ) from error
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        raise OSError(f"{free / 2**20:.0f} MiB are free at {folder}; free some space or choose another --output_dir")


def check_resampling(trainer: CEPOTrainer) -> None:
    """Groups can be replaced where they lie: whole on one process, advantages of the group alone."""
    args = trainer.args
    rows = args.per_device_train_batch_size * cast(int, args.steps_per_generation)
    if rows % args.group_size:
        raise ValueError(
            f"resample_dead_groups needs whole groups on each process: per_device_train_batch_size x "
            f"steps_per_generation = {rows} is no multiple of num_generations={args.group_size}"
        )
    if args.scale_rewards == "batch":
        raise ValueError(
            "resample_dead_groups mixes batches, but scale_rewards='batch' divides by one's deviation; use 'group'"
        )
    if not isinstance(trainer.train_dataset, Dataset):
        raise ValueError("resample_dead_groups draws fresh problems by index: it needs a data set, not a stream")


def check_answers(dataset: Dataset, column: str, wrong_reward: str | None, reward_names: Sequence[str]) -> None:
    """There is a gold answer for r+, and the grader can read it; or a named reward decides what is wrong."""
    if wrong_reward is not None and wrong_reward not in reward_names:
        raise ValueError(f"wrong_reward={wrong_reward!r} names no reward function; there are {list(reward_names)}")
    if column not in dataset.column_names:
        if wrong_reward is not None:
            return
        raise ValueError(
            f"the training data has no column {column!r} for r+ (it has {dataset.column_names}); set answer_column, "
            "or wrong_reward if a reward decides what is right"
        )
    answers = list(dataset[column])
    faults = {answer: why_not_gradable(answer) for answer in set(answers)}
    if wrong_reward is not None:
        faults[None] = None
    bad = [f"row {index}: {answer!r} ({faults[answer]})" for index, answer in enumerate(answers) if faults[answer]]
    if bad:
        listed = "; ".join(bad[:SHOWN])
        raise ValueError(f"{len(bad)} of {len(dataset)} answers cannot be graded: {listed}. Fix or drop these rows.")


def check_lengths(trainer: CEPOTrainer, dataset: Dataset) -> None:
    """Prompt, longest reference and completion fit the model's positions, on an even sample of rows."""
    limit = cast(Any, trainer.model).config.get_text_config().max_position_embeddings
    count = min(LENGTH_SAMPLE, len(dataset))
    indices = [index * len(dataset) // count for index in range(count)]
    rows: list[Mapping[str, Any]] = [dataset[index] for index in indices]
    room = limit - (trainer.args.max_completion_length or 0)
    over = []
    for index, row in zip(indices, rows, strict=True):
        length = len(_student_ids(trainer, row))
        reference = row.get(trainer.args.answer_column)
        if trainer.method.teachers and reference is not None:
            length += len(trainer._prompts.reference_ids(str(reference)))
        if length > room:
            over.append(f"row {index}: {length}")
    if over:
        raise ValueError(
            f"{len(over)} of {count} rows looked at have prompts (references included) of more tokens than fit: "
            f"{'; '.join(over[:SHOWN])}; the model has {limit} positions and max_completion_length="
            f"{trainer.args.max_completion_length} leaves {room}. Shorten or drop them, or lower max_completion_length."
        )


def _student_ids(trainer: CEPOTrainer, row: Mapping[str, Any]) -> Sequence[int]:
    """The prompt's ids as TRL will make them, images expanded."""
    from trl.data_utils import is_conversational, prepare_multimodal_messages

    prompt = row["prompt"]
    if not is_conversational({"prompt": prompt}):
        return trainer._tokenizer(prompt)["input_ids"]  # pyright: ignore[reportReturnType]
    images = row.get("images") or ([row["image"]] if row.get("image") is not None else None)
    if images:
        prompt = prepare_multimodal_messages(prompt, images=images)
    ids, _, _ = trainer._tokenize_prompts([prompt])
    return ids[0]
