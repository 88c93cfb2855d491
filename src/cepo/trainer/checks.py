"""What can be known to be wrong before anything is generated, said in one sentence each.

The trainer runs these checks before it trains, `cepo doctor` before a GPU hour is spent: the same ones.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from datasets import Dataset

from cepo.answers import BOXED, Grading
from cepo.credit.references import columns_of
from cepo.credit.rules import Distillation, get_method
from cepo.data.rewards import preflight_rewards
from cepo.errors import DataError, PackageError, RewardError, RunFolderError, SettingError
from cepo.glossary import DataRow
from cepo.trainer.config import CEPOConfig
from cepo.trainer.fitting import check_lengths
from cepo.trainer.image_columns import image_column, image_counts
from cepo.trainer.prompt_host import prompt_text, unfilled_images
from cepo.trainer.subject import Subject
from cepo.trainer.teacher_view import PROMPT, check_columns, teacher_image_column, teacher_row

__all__ = [
    "CHECKS", "check_answers", "check_folder", "check_images_alike", "check_resampling", "check_router",
    "check_vllm", "preflight", "rows_without_image",
]  # fmt: skip

SHOWN = 5
FREE_BYTES = 64 * 2**20


def preflight(subject: Subject) -> None:
    """Check the data, the rewards and the lengths; the run folder has been checked before the model was touched.

    Raises:
        CepoError: the first thing found wrong, with the value and what to do.
    """
    if isinstance(subject.dataset, Dataset):
        for check in CHECKS.values():
            check(subject, subject.dataset)


def _check_problems(subject: Subject, dataset: Dataset) -> str:
    """A generation takes several problems at once; of fewer TRL makes none, and the training ends at step 0."""
    if len(dataset) == 0:
        raise DataError("the training data set is empty")
    config = subject.config
    wanted = cast(int, config.generation_batch_size) // config.group_size
    if len(dataset) < wanted:
        raise DataError(
            f"the training data has {len(dataset)} problems, and one generation takes {wanted}: generation_batch_size="
            f"{config.generation_batch_size} (per_device_train_batch_size={config.per_device_train_batch_size} x "
            f"processes x steps_per_generation={config.steps_per_generation}) over num_generations="
            f"{config.group_size}. Lower one of them, or give more problems"
        )
    return f"{len(dataset)}, {wanted} at once"


def _check_answers(subject: Subject, dataset: Dataset) -> str:
    config = subject.config
    if not subject.method.references:
        return "not needed: no teacher is told anything"
    check_answers(dataset, config.answer_column, config.wrong_reward, subject.reward_names, config.grading)
    missing = [name for name in columns_of(subject.method.references) if name not in dataset.column_names]
    if missing:
        raise DataError(
            f"method={config.method!r} tells its teachers the column {missing[0]!r}, which the training data has not "
            f"(it has {dataset.column_names})"
        )
    return f"all {len(dataset)} can be graded"


def _check_views(subject: Subject, dataset: Dataset) -> str:
    if not subject.method.references:
        return "not needed: no teacher is asked"
    return check_columns(dataset, subject.views, subject.config.credit.teacher_sees_images)


def _check_images(subject: Subject, dataset: Dataset) -> str:
    check_images(dataset, subject.image_token)
    return "prompts and images fit each other"


def _check_strings(subject: Subject, dataset: Dataset) -> str:
    """Prompts given as strings: each says where a reference belongs."""
    if not subject.method.references or subject.prompts.style == "prefill":
        return "nothing to place"
    prompts = dataset["prompt"]
    if PROMPT in dataset.column_names:
        pairs = dataset.select_columns(["prompt", PROMPT])
        prompts = [teacher_row(cast(DataRow, row))["prompt"] for row in pairs]
    strings = [(row, prompt) for row, prompt in enumerate(prompts) if isinstance(prompt, str)]
    for row, prompt in strings:
        try:
            subject.prompts.closing_of(prompt)
        except DataError as error:
            raise DataError(f"row {row}: {error}") from None
    return f"{len(strings)} of {len(dataset)} prompts are strings"


def _check_rewards(subject: Subject, dataset: Dataset) -> str:
    rows = [dataset[index] for index in range(min(2, len(dataset)))]
    functions = [function for function in subject.reward_funcs if callable(function) and hasattr(function, "__name__")]
    timeout = subject.config.reward_timeout
    rewards = preflight_rewards(functions, rows, timeout, subject.config.grading, trainer_state=subject.trainer_state)
    if len(functions) == len(subject.reward_funcs):
        check_scored(rewards, subject.reward_names)
    return f"{len(functions)} functions score the gold answers of {len(rows)} rows"


def check_folder(folder: Path) -> None:
    """The run folder can be written, and its disk is not full."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"cepo")
    except OSError as error:
        raise RunFolderError(
            f"cannot write to the run folder {folder} ({error.strerror}); choose another --output_dir"
        ) from error
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        raise RunFolderError(
            f"{free / 2**20:.0f} MiB are free at {folder}; free some space or choose another --output_dir"
        )


def check_vllm(config: CEPOConfig) -> None:
    """Where generation is vLLM's, it is installed: TRL would look only after the model has been loaded."""
    if config.use_vllm and find_spec("vllm") is None:
        raise PackageError(
            "use_vllm=True, but vLLM is not installed: pip install 'cepo[vllm]', or set use_vllm: false (transformers "
            "generates, many times slower)"
        )


def check_router(config: CEPOConfig, has_router_loss: bool) -> None:
    """A mixture of experts brings a loss of its own, by default of its config: not where it would be left out, or
    changed by leaving rows out."""
    left_out = isinstance(get_method(config.method), Distillation)
    if has_router_loss and (left_out or config.skip_dead_groups):
        why = (
            f"method={config.method!r} has a loss of its own, which would leave the router's out"
            if left_out
            else "skip_dead_groups=True must not change the gradient, but the router's loss reads every row"
        )
        raise SettingError(
            f"router_aux_loss_coef={config.router_aux_loss_coef!r} (None: the model's own) gives this mixture of "
            f"experts a loss of its router: {why}; set router_aux_loss_coef: 0.0"
        )


def check_resampling(config: CEPOConfig, dataset: object) -> None:
    """Groups can be replaced where they lie: whole on one process, by problems of a data set."""
    who = "resample_dead_groups" if config.resample_dead_groups else "curriculum_rest"
    rows = config.per_device_train_batch_size * cast(int, config.steps_per_generation)
    if rows % config.group_size:
        raise SettingError(
            f"{who} needs whole groups on each process: per_device_train_batch_size x "
            f"steps_per_generation = {rows} is no multiple of num_generations={config.group_size}"
        )
    if not isinstance(dataset, Dataset):
        raise SettingError(f"{who} draws other problems by index: it needs a data set, not a stream")


def check_answers(
    dataset: Dataset,
    column: str,
    wrong_reward: str | None,
    reward_names: Sequence[str],
    grading: Grading = BOXED,
) -> None:
    """There is a gold answer for r+, and the grader can read it; or a named reward decides what is wrong."""
    if wrong_reward is not None and wrong_reward not in reward_names:
        raise SettingError(f"wrong_reward={wrong_reward!r} names no reward function; there are {list(reward_names)}")
    if column not in dataset.column_names:
        if wrong_reward is not None:
            return
        raise DataError(
            f"the training data has no column {column!r} for r+ (it has {dataset.column_names}); set answer_column, "
            "or wrong_reward if a reward decides what is right"
        )
    bad = []
    for index, answer in enumerate(dataset[column]):
        fault = grading.why_not_gradable(answer)
        if fault is not None and not (answer is None and wrong_reward is not None):
            bad.append(f"row {index}: {answer!r:.80} ({fault})")
    if bad:
        listed = "; ".join(bad[:SHOWN])
        raise DataError(f"{len(bad)} of {len(dataset)} answers cannot be graded: {listed}. Fix or drop these rows.")


def check_images(dataset: Dataset, image_token: str | None) -> None:
    """Every prompt asks for as many images as its row has, and holds no placeholder of the model's own in its text.

    Prompts whose content is text are TRL's to fill. Only the prompts are read, and the images of those in parts
    are counted undecoded.
    """
    column = image_column(dataset)
    bad, in_parts = [], []
    for index, prompt in enumerate(dataset["prompt"]):
        if isinstance(prompt, str):
            if column is not None and image_token is not None:
                bad.append(f"row {index}: a prompt with images must be messages, not a string")
        elif asked := unfilled_images(prompt):
            in_parts.append((index, asked))
        if image_token is not None and image_token in prompt_text(prompt):
            bad.append(f"row {index}: the prompt's text holds {image_token!r}, which stands for an image")
    has = image_counts(dataset, [index for index, _ in in_parts], column)
    bad += [
        f"row {index}: the prompt has {asked} image parts, the row has {count} images"
        for (index, asked), count in zip(in_parts, has, strict=True)
        if asked != count
    ]
    if bad:
        raise DataError(f"{len(bad)} of {len(dataset)} prompts do not fit their images: {'; '.join(bad[:SHOWN])}")


def rows_without_image(dataset: Dataset) -> int:
    """How many rows have no image where others have; 0: all have some, or none has."""
    columns = {image_column(dataset), teacher_image_column(dataset)}
    counts = [image_counts(dataset, range(len(dataset)), name) for name in columns]
    return sum(not all(of_row) for of_row in zip(*counts, strict=True)) if any(map(any, counts)) else 0


def check_images_alike(dataset: object) -> None:
    """All rows have images or none has, as sharded weights need: a forward with images gathers the vision tower's,
    and a process whose rows have none would not take part."""
    if isinstance(dataset, Dataset) and (without := rows_without_image(dataset)):
        raise DataError(
            f"{without} of {len(dataset)} rows have no image and the others have: where weights are sharded (FSDP, "
            "ZeRO-3) the processes would wait for each other; use DDP or ZeRO-2, or train on one kind of rows"
        )


def check_scored(rewards: Sequence[Sequence[float | None]], names: Sequence[str]) -> None:
    """Some function scores each of the rows that were tried; `rewards` by function, then row."""
    for row, values in enumerate(zip(*rewards, strict=True)):
        if all(value is None for value in values):
            raise RewardError(
                f"no reward function scores row {row} answered with its own gold answer: {', '.join(names)} "
                "returned None or NaN; every rollout needs a reward"
            )


CHECKS: dict[str, Callable[[Subject, Dataset], str]] = {
    "problems": _check_problems,
    "answers": _check_answers,
    "teachers": _check_views,
    "images": _check_images,
    "strings": _check_strings,
    "rewards": _check_rewards,
    "lengths": check_lengths,
}
"""Name -> check: it raises a CepoError, or says in a few words what it saw."""
