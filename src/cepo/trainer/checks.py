"""What can be known to be wrong before anything is generated, said in one sentence each."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from datasets import Dataset

from cepo.answers import why_not_gradable
from cepo.credit.references import MAX_ANSWER_CHARS
from cepo.data.rewards import preflight_rewards
from cepo.trainer.generation import unfilled_images

if TYPE_CHECKING:
    from cepo.trainer.config import CEPOConfig
    from cepo.trainer.trainer import CEPOTrainer

__all__ = ["check_folder", "check_resampling", "check_vllm", "preflight"]

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
    check_images(dataset, cast(Any, trainer.processing_class).image_token if trainer._image_token_id else None)
    rows = [dataset[index] for index in range(min(2, len(dataset)))]
    functions = [function for function in trainer.reward_funcs if callable(function) and hasattr(function, "__name__")]
    rewards = preflight_rewards(functions, rows, trainer.args.reward_timeout, trainer_state=trainer.state)
    if len(functions) == len(trainer.reward_funcs):
        check_scored(rewards, trainer.reward_func_names)
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


def check_vllm(config: CEPOConfig) -> None:
    """Where generation is vLLM's, it is installed: TRL would look only after the model has been loaded."""
    if config.use_vllm and find_spec("vllm") is None:
        raise ImportError(
            "use_vllm=True, but vLLM is not installed: pip install 'cepo[vllm]', or set use_vllm: false (transformers "
            "generates, many times slower)"
        )


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
    bad = []
    for index, answer in enumerate(dataset[column]):
        fault = why_not_gradable(answer)
        if fault is not None and not (answer is None and wrong_reward is not None):
            bad.append(f"row {index}: {answer!r:.80} ({fault})")
    if bad:
        listed = "; ".join(bad[:SHOWN])
        raise ValueError(f"{len(bad)} of {len(dataset)} answers cannot be graded: {listed}. Fix or drop these rows.")


def check_images(dataset: Dataset, image_token: str | None) -> None:
    """Every prompt asks for as many images as its row has, and holds no placeholder of the model's own in its text.

    Prompts whose content is text are TRL's to fill. Only the prompts are read, and the images of those in parts
    are counted undecoded.
    """
    column = next((name for name in ("images", "image") if name in dataset.column_names), None)
    bad, in_parts = [], []
    for index, prompt in enumerate(dataset["prompt"]):
        if isinstance(prompt, str):
            if column is not None and image_token is not None:
                bad.append(f"row {index}: a prompt with images must be messages, not a string")
        elif asked := unfilled_images(prompt):
            in_parts.append((index, asked))
        if image_token is not None and image_token in _text(prompt):
            bad.append(f"row {index}: the prompt's text holds {image_token!r}, which stands for an image")
    has = _image_counts(dataset, [index for index, _ in in_parts], column)
    bad += [
        f"row {index}: the prompt has {asked} image parts, the row has {count} images"
        for (index, asked), count in zip(in_parts, has, strict=True)
        if asked != count
    ]
    if bad:
        raise ValueError(f"{len(bad)} of {len(dataset)} prompts do not fit their images: {'; '.join(bad[:SHOWN])}")


def _text(prompt: Any) -> str:
    """All text of a prompt."""
    if isinstance(prompt, str):
        return prompt
    contents = [message.get("content") or "" for message in prompt]
    parts = [[{"text": content}] if isinstance(content, str) else content for content in contents]
    return "\n".join(part.get("text") or "" for content in parts for part in content)


def _image_counts(dataset: Dataset, indices: Sequence[int], column: str | None) -> list[int]:
    """Images of these rows, counted without decoding one."""
    if column is None or not indices:
        return [0] * len(indices)
    stored = dataset.select(indices).select_columns([column]).with_format("arrow")
    values = [value for batch in stored.iter(batch_size=64) for value in cast(Any, batch)[column]]
    if column == "image":
        return [int(value.is_valid) for value in values]
    return [len(value) if value.is_valid else 0 for value in values]


def check_scored(rewards: Sequence[Sequence[float | None]], names: Sequence[str]) -> None:
    """Some function scores each of the rows that were tried; `rewards` by function, then row."""
    for row, values in enumerate(zip(*rewards, strict=True)):
        if all(value is None for value in values):
            raise ValueError(
                f"no reward function scores row {row} answered with its own gold answer: {', '.join(names)} "
                "returned None or NaN; every rollout needs a reward"
            )


def check_lengths(trainer: CEPOTrainer, dataset: Dataset) -> None:
    """Prompt, longest reference and completion fit the model's positions, on an even sample of rows."""
    limit = cast(Any, trainer.model).config.get_text_config().max_position_embeddings
    count = min(LENGTH_SAMPLE, len(dataset))
    indices = [index * len(dataset) // count for index in range(count)]
    rows: list[Mapping[str, Any]] = [dataset[index] for index in indices]
    room = limit - (trainer.args.max_completion_length or 0)
    over = []
    for index, row in zip(indices, rows, strict=True):
        length = _longest_prompt(trainer, row)
        if length > room:
            over.append(f"row {index}: {length}")
    if over:
        raise ValueError(
            f"{len(over)} of {count} rows looked at have prompts (references included) of more tokens than fit: "
            f"{'; '.join(over[:SHOWN])}; the model has {limit} positions and max_completion_length="
            f"{trainer.args.max_completion_length} leaves {room}. Shorten or drop them, or lower max_completion_length."
        )


def _longest_prompt(trainer: CEPOTrainer, row: Mapping[str, Any]) -> int:
    """Tokens of the row's longest prompt: the student's, or a teacher's with what it may be told."""
    ids = _student_ids(trainer, row)
    method, args = trainer.method, trainer.args
    if not method.teachers:
        return len(ids)
    whole = trainer.credit.reference_form == "rationale" or method.objective == "distillation"
    told = row.get(args.solution_column if whole else args.answer_column)
    prompts = trainer._distillation.solutions if trainer._distillation else trainer._prompts
    plus, empty = (len(prompts.prompt_ids(row["prompt"], ids, text)) for text in (str(told or ""), ""))
    if told is not None and method.told != "peer" and "minus" not in method.teachers:
        return plus
    rollout = args.max_completion_length or 0  # r-, or a sibling's r+, is what a rollout says
    return max(plus, empty + (rollout if whole else min(rollout, MAX_ANSWER_CHARS)))


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
