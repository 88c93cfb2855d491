"""Completions of problems from a model, graded: generated in batches, each with randomness of its own.

Left out on purpose: generation engines other than `model.generate`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from cepo.answers import BOXED, Grading
from cepo.errors import DataError, ModelError, SettingError
from cepo.evaluate.batches import ALONE, Team, cut_batches, turns
from cepo.evaluate.records import Generation, graded
from cepo.evaluate.stops import NO_STOPS, Stops
from cepo.glossary import DataRow

__all__ = [
    "Answers",
    "encode_prompts",
    "end_tokens",
    "evaluating",
    "generate_answers",
    "messages_with_images",
    "own_randomness",
]

Answers = Callable[[Sequence[DataRow]], list[tuple[str, bool]]]
"""Rows -> the text of a completion of each, and whether it was truncated."""


def generate_answers(
    model: PreTrainedModel,
    processor: ProcessorMixin | PreTrainedTokenizerBase,
    dataset: Dataset,
    *,
    samples: int = 1,
    temperature: float = 1.0,
    max_new_tokens: int = 1024,
    batch_size: int = 64,
    seed: int = 0,
    progress: bool = True,
    autocast_bf16: bool,
    grading: Grading = BOXED,
    team: Team = ALONE,
    stops: Stops = NO_STOPS,
    answers: Answers | None = None,
) -> list[Generation]:
    """`samples` graded completions of every problem: problems in the data's order, a problem's side by side.

    Temperature 0 is greedy. Equal arguments give equal completions, on any number of processes; sampled ones change
    with `batch_size` too. The caller's random state, the model's generation config and its train or eval modes are
    left as they were. The progress bar goes to stderr.

    Args:
        dataset: rows of `cepo.data.datasets.load_data`: prompt, answer, id; images and family if there.
        batch_size: completions that are generated together.
        autocast_bf16: whether the forward passes run under bfloat16 autocast.
        grading: how answers are marked and graded; the prompts are the data's.
        stops: what ends a completion beside the model's end tokens.
        team: the processes that share the work; every one of them calls this, and gets all completions.
        answers: who answers in place of `model.generate`, by settings of its own.

    Raises:
        SettingError, DataError, ModelError: a setting out of range; no rows, or an id that stands twice; a row
            with images for a tokenizer, or a model without an end token.
        GraderUnavailable: math-verify cannot start.
    """
    _check_settings(samples, temperature, max_new_tokens, batch_size)
    _check_rows(dataset)
    config = _generation_config(model, processor, temperature, max_new_tokens, stops)
    batches = cut_batches(dataset, samples, batch_size)
    made: list[tuple[int, list[Generation]]] = []
    shown = None if progress and team.index == 0 else True
    bar = tqdm(total=sum(map(len, batches)), desc="generating", unit="answer", disable=shown)
    bar.update(sum(map(len, team.done.values())))
    with bar, evaluating(model, config), torch.no_grad():  # not inference mode: FSDP keeps what it gathers here
        for turn in turns(dataset, batches, team):
            if turn.own is not None:
                rows = [dataset[index] for index in batches[turn.own]]
                with (
                    own_randomness(model.device, _seed_of(seed, turn.own)),
                    torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=autocast_bf16),
                ):
                    outputs = answers(rows) if answers else _complete(model, processor, rows, config, team.in_step)
                    outputs = [(*stops.cut(text), truncated) for text, truncated in outputs]
                if turn.is_own:
                    read = [
                        _generation(row, text, truncated and not stopped, grading)
                        for row, (text, stopped, truncated) in zip(rows, outputs, strict=True)
                    ]
                    made.append((turn.own, graded(read)))
                    team.keep(*made[-1])
            bar.update(turn.rows)
    return _in_order(len(dataset), batches, {**team.done, **dict(team.gather(made))})


def _in_order(
    problems: int, batches: Sequence[Sequence[int]], made: Mapping[int, Sequence[Generation]]
) -> list[Generation]:
    """What the batches hold, in the data's order."""
    found: list[list[Generation]] = [[] for _ in range(problems)]
    for number, batch in enumerate(batches):
        for index, generation in zip(batch, made[number], strict=True):
            found[index].append(generation)
    return [generation for of_problem in found for generation in of_problem]


def _seed_of(seed: int, batch: int) -> int:
    """A batch's own, so that it does not matter which process generates it; the first batch's is `seed`."""
    return seed + batch * 1_000_003


def _check_settings(samples: int, temperature: float, max_new_tokens: int, batch_size: int) -> None:
    for name, value in (
        ("samples", samples),
        ("max_new_tokens", max_new_tokens),
        ("batch_size", batch_size),
    ):
        if value < 1:
            raise SettingError(f"{name} must be at least 1, got {value}")
    if not temperature >= 0:
        raise SettingError(f"temperature must be at least 0 (0 is greedy), got {temperature}")
    if temperature == 0 and samples > 1:
        raise SettingError(f"temperature 0 is greedy, {samples} samples would be equal: set samples=1")


def _check_rows(dataset: Dataset) -> None:
    if not len(dataset):
        raise DataError("the dataset is empty: there is nothing to evaluate")
    if missing := {"prompt", "answer", "id"} - set(dataset.column_names):
        raise DataError(
            f"the dataset lacks {', '.join(sorted(missing))}; it has {', '.join(dataset.column_names)}. "
            "cepo.data.datasets.load_data gives such rows"
        )
    seen: set[str] = set()
    for problem in dataset["id"]:
        if problem in seen:
            raise DataError(f"id {problem!r} stands twice in the dataset: every problem needs its own")
        seen.add(problem)


def _generation_config(
    model: PreTrainedModel, processor: Any, temperature: float, max_new_tokens: int, stops: Stops
) -> GenerationConfig:
    given = cast(GenerationConfig, model.generation_config)
    ends = [*dict.fromkeys([*end_tokens(model), *stops.ids])]
    pads = (given.pad_token_id, _tokenizer(processor).pad_token_id, ends[0])
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        eos_token_id=ends,
        pad_token_id=next(pad for pad in pads if pad is not None),
        bos_token_id=given.bos_token_id,
        stop_strings=list(stops.texts) or None,
        use_cache=True,
        **(sampling if temperature > 0 else {"do_sample": False}),
    )


def end_tokens(model: PreTrainedModel) -> list[int]:
    """Ids of the tokens that end a completion.

    Raises:
        ModelError: the model's generation config names none.
    """
    ends = None if model.generation_config is None else model.generation_config.eos_token_id
    if ends is None:
        raise ModelError("the model names no end token: set model.generation_config.eos_token_id")
    return ends if isinstance(ends, list) else [ends]


def _tokenizer(processor: Any) -> PreTrainedTokenizerBase:
    return processor.tokenizer if isinstance(processor, ProcessorMixin) else processor


@contextmanager
def evaluating(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    """Eval mode under `config` alone; afterwards every module has its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    given = model.generation_config
    model.eval()
    # `generate` fills what a passed config leaves open from the model's own: top-k, penalties, bans.
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = given
        for module, training in modes:
            module.training = training


@contextmanager
def own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Within the block draws come from `seed`, Python's and NumPy's too, since tools and rewards may draw; afterwards
    the caller's random state is as it was."""
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002 - others' draws are of this generator
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        with _torchs_randomness(device, seed):
            yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002


@contextmanager
def _torchs_randomness(device: torch.device, seed: int) -> Iterator[None]:
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the GPUs too
            yield
        return
    count = torch.get_device_module(device.type).device_count()
    with torch.random.fork_rng(devices=range(count), device_type=device.type):
        torch.manual_seed(seed)
        yield


def _images(row: DataRow) -> list[Image.Image]:
    return row.get("images") or []


def _complete(
    model: Any, processor: Any, rows: Sequence[DataRow], config: GenerationConfig, in_step: bool
) -> list[tuple[str, bool]]:
    """Text of one completion for each row, and whether it was truncated.

    `in_step`: forwards go on until every process has ended.
    """
    inputs = encode_prompts(processor, rows).to(model.device)
    reader = {"tokenizer": _tokenizer(processor)} if config.stop_strings else {}
    output = model.generate(**inputs, generation_config=config, synced_gpus=in_step, **reader)
    new_ids = output[:, inputs["input_ids"].shape[1] :].tolist()
    kept = [_until_end(ids, config.eos_token_id) for ids in new_ids]
    texts = _tokenizer(processor).batch_decode([ids for ids, _ in kept], skip_special_tokens=True)
    return [(text, not ended) for text, (_, ended) in zip(texts, kept, strict=True)]


def encode_prompts(processor: Any, rows: Sequence[DataRow]) -> Any:
    """The model's inputs for the rows' prompts, generation prompt included, padded on the left.

    Raises:
        ModelError, DataError: a row with images for a tokenizer, or without a user message to put them in.
    """
    options: dict[str, Any] = {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
    # Completions follow the prompts' last column, so that padding stands on the left.
    padding: dict[str, Any] = {"padding": True, "padding_side": "left", "return_tensors": "pt"}
    if isinstance(processor, ProcessorMixin):
        messages = [messages_with_images(row) for row in rows]
        return cast(Any, processor).apply_chat_template(messages, **options, processor_kwargs=padding)
    if any(_images(row) for row in rows):
        raise ModelError(
            f"row {rows[0]['id']!r} has images, {type(processor).__name__} reads text only: "
            "use a vision-language model with its processor"
        )
    side = padding.pop("padding_side")
    return processor.apply_chat_template(
        [row["prompt"] for row in rows], **options, **padding, tokenizer_kwargs={"padding_side": side}
    )


def messages_with_images(row: DataRow) -> list[dict[str, object]]:
    """A row's messages in parts; its images stand before the text of the first user message, as in training."""
    images = [{"type": "image", "image": image} for image in _images(row)]
    messages: list[dict[str, object]] = []
    for message in row["prompt"]:
        parts = [{"type": "text", "text": message["content"]}]
        if images and message["role"] == "user":
            parts, images = images + parts, []
        messages.append({"role": message["role"], "content": parts})
    if images:
        raise DataError(f"row {row['id']!r} has images and no user message to put them in")
    return messages


def _until_end(ids: list[int], ends: Sequence[int]) -> tuple[list[int], bool]:
    length = next((position for position, token in enumerate(ids) if token in ends), None)
    return (ids, False) if length is None else (ids[:length], True)


def _generation(row: DataRow, text: str, truncated: bool, grading: Grading) -> Generation:
    """One completion without its verdict yet."""
    return Generation(
        id=row["id"],
        family=row.get("family"),
        answer=row["answer"],
        text=text,
        extracted=None,
        correct=False,
        truncated=truncated,
        grading=grading,
    )
