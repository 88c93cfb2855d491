"""How often a model is right: generate answers, grade them as training does, report with intervals.

Generating, grading and reporting are apart: generations are saved as JSON lines, and graded and reported
again without a model. Sampling is from the model's own distribution at the given temperature: top-k, top-p,
penalties and suppressed tokens of the checkpoint's generation config do not apply, its end tokens do.

Left out on purpose: several processes, and generation engines other than `model.generate`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch
from datasets import Dataset
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from cepo.answers import extract_answer, same_answer
from cepo.stats import clustered_interval, majority_vote, pass_at_k

__all__ = [
    "EvalReport",
    "Generation",
    "Score",
    "encode_prompts",
    "end_tokens",
    "evaluating",
    "format_report",
    "generate_answers",
    "load_generations",
    "messages_with_images",
    "own_randomness",
    "regrade",
    "report",
    "save_generations",
]

_NO_FAMILY = "(none)"


@dataclass(frozen=True, slots=True)
class Generation:
    """One completion of one problem, graded.

    `answer` is the gold answer; `extracted` is what the grader read (None: nothing boxed); `truncated` says
    that the completion reached the token limit without an end token. `family` is None where the data has none.
    """

    id: str
    family: str | None
    answer: str
    text: str
    extracted: str | None
    correct: bool
    truncated: bool


@dataclass(frozen=True, slots=True)
class Score:
    """pass@1 over `n` problems with its 95% interval; no interval (None) for fewer than two problems."""

    n: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class EvalReport:
    """What one evaluation found; shares and rates lie in [0, 1].

    Attributes:
        problems, samples: how many problems, and completions of each.
        overall: pass@1, the mean of per-problem means, with the cluster interval.
        pass_at: k -> pass@k, for k = 1, 2, 4, .. <= samples.
        majority: accuracy of the answer most samples agree on; None for one sample.
        families: pass@1 by family, in the order of the data.
        truncated, no_answer: share of completions cut at the token limit, and without a boxed answer.
        per_problem: problem id -> mean correctness. `stats.paired_difference` compares two reports of the
            same problems by it: pair the values by id.
    """

    problems: int
    samples: int
    overall: Score
    pass_at: dict[int, float]
    majority: float | None
    families: dict[str, Score]
    truncated: float
    no_answer: float
    per_problem: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON; the keys of `pass_at` become text."""
        return {**asdict(self), "pass_at": {str(k): rate for k, rate in self.pass_at.items()}}


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
) -> list[Generation]:
    """`samples` graded completions of every problem: problems in the data's order, a problem's side by side.

    Temperature 0 is greedy. Equal arguments give equal completions; sampled ones change with `batch_size`
    too. The caller's random state, the model's generation config and its train or eval modes are left as
    they were. The progress bar goes to stderr.

    Args:
        dataset: rows of `cepo.tasks.datasets.load_data`: prompt, answer, id; images and family if there.
        batch_size: completions that are generated together.
        autocast_bf16: whether the forward passes run under bfloat16 autocast.

    Raises:
        ValueError: a setting out of range, no rows, an id that stands twice, a row with images for a
            tokenizer, or a model without an end token.
        GraderUnavailable: math-verify cannot start.
    """
    _check_settings(samples, temperature, max_new_tokens, batch_size)
    _check_rows(dataset)
    config = _generation_config(model, processor, temperature, max_new_tokens)
    jobs = [index for index in _longest_first(dataset) for _ in range(samples)]
    completions: dict[int, list[Generation]] = {}
    bar = tqdm(total=len(jobs), desc="generating", unit="answer", disable=None if progress else True)
    with bar, evaluating(model, config), own_randomness(model.device, seed), torch.inference_mode():
        for batch in _batches(dataset, jobs, batch_size):
            rows = [row for _, row in batch]
            with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=autocast_bf16):
                outputs = _complete(model, processor, rows, config)
            for (index, row), (text, truncated) in zip(batch, outputs, strict=True):
                completions.setdefault(index, []).append(_graded(row, text, truncated))
            bar.update(len(batch))
    return [generation for index in range(len(dataset)) for generation in completions[index]]


def report(generations: Sequence[Generation], samples: int) -> EvalReport:
    """What `generations`, `samples` of each problem, amount to.

    Raises:
        ValueError: no generations, samples < 1, or a problem with another number of samples.
        GraderUnavailable: math-verify cannot start (several samples vote, and equal answers vote together).
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if not generations:
        raise ValueError("nothing to report: there are no generations")
    by_problem: dict[str, list[Generation]] = {}
    for generation in generations:
        by_problem.setdefault(generation.id, []).append(generation)
    for problem, group in by_problem.items():
        if len(group) != samples:
            raise ValueError(f"problem {problem!r} has {len(group)} generations, expected samples={samples}")
    groups = list(by_problem.values())
    return EvalReport(
        problems=len(groups),
        samples=samples,
        overall=_score(groups),
        pass_at={k: fmean(pass_at_k(samples, _right(g), k) for g in groups) for k in _powers_of_two(samples)},
        majority=fmean(_vote_is_right(group) for group in groups) if samples > 1 else None,
        families=_by_family(groups),
        truncated=fmean(generation.truncated for generation in generations),
        no_answer=fmean(generation.extracted is None for generation in generations),
        per_problem={problem: _right(group) / samples for problem, group in by_problem.items()},
    )


def format_report(report: EvalReport) -> str:
    """The report as aligned plain text: pass@1 overall and by family, then the other rates, in percent."""
    header = ("family", "problems", "pass@1", "95% interval")
    scores = [("all", report.overall)]
    if set(report.families) != {_NO_FAMILY}:
        scores += report.families.items()
    table = [header, *((name, str(s.n), _percent(s.mean), _interval(s)) for name, s in scores)]
    first, *rest = (max(len(row[column]) for row in table) for column in range(len(header)))
    lines = [
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], rest, strict=True))])
        for row in table
    ]
    lines.insert(1, "-" * len(lines[0]))
    facts = [(f"pass@{k}", _percent(rate)) for k, rate in report.pass_at.items() if k > 1]
    if report.majority is not None:
        facts.append((f"majority of {report.samples}", _percent(report.majority)))
    facts += [
        ("samples per problem", str(report.samples)),
        ("truncated", _percent(report.truncated)),
        ("no answer", _percent(report.no_answer)),
    ]
    names, values = (max(len(fact[column]) for fact in facts) for column in range(2))
    return "\n".join([*lines, "", *(f"{name.ljust(names)}  {value.rjust(values)}" for name, value in facts)])


def save_generations(generations: Iterable[Generation], path: str | Path) -> None:
    """Write one JSON object per generation and line; a file that is there is replaced."""
    with Path(path).open("w", encoding="utf-8") as file:
        for generation in generations:
            file.write(json.dumps(asdict(generation)) + "\n")


def load_generations(path: str | Path) -> list[Generation]:
    """Read what `save_generations` wrote.

    Raises:
        ValueError: a line that is no generation, named by its number.
    """
    with Path(path).open(encoding="utf-8") as file:
        return [_parsed(line, f"{path}, line {number}") for number, line in enumerate(file, start=1)]


def regrade(generations: Iterable[Generation]) -> list[Generation]:
    """The same texts under today's grader: `extracted` and `correct` anew, all else as it was."""
    return [replace(generation, **_verdict(generation.text, generation.answer)) for generation in generations]


def _check_settings(samples: int, temperature: float, max_new_tokens: int, batch_size: int) -> None:
    for name, value in (
        ("samples", samples),
        ("max_new_tokens", max_new_tokens),
        ("batch_size", batch_size),
    ):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not temperature >= 0:
        raise ValueError(f"temperature must be at least 0 (0 is greedy), got {temperature}")
    if temperature == 0 and samples > 1:
        raise ValueError(f"temperature 0 is greedy, {samples} samples would be equal: set samples=1")


def _check_rows(dataset: Dataset) -> None:
    if not len(dataset):
        raise ValueError("the dataset is empty: there is nothing to evaluate")
    if missing := {"prompt", "answer", "id"} - set(dataset.column_names):
        raise ValueError(
            f"the dataset lacks {', '.join(sorted(missing))}; it has {', '.join(dataset.column_names)}. "
            "cepo.tasks.datasets.load_data gives such rows"
        )
    seen: set[str] = set()
    for problem in dataset["id"]:
        if problem in seen:
            raise ValueError(f"id {problem!r} stands twice in the dataset: every problem needs its own")
        seen.add(problem)


def _generation_config(
    model: PreTrainedModel, processor: Any, temperature: float, max_new_tokens: int
) -> GenerationConfig:
    given, ends = cast(GenerationConfig, model.generation_config), end_tokens(model)
    pads = (given.pad_token_id, _tokenizer(processor).pad_token_id, ends[0])
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        eos_token_id=ends,
        pad_token_id=next(pad for pad in pads if pad is not None),
        bos_token_id=given.bos_token_id,
        use_cache=True,
        **(sampling if temperature > 0 else {"do_sample": False}),
    )


def end_tokens(model: PreTrainedModel) -> list[int]:
    """Ids of the tokens that end a completion.

    Raises:
        ValueError: the model's generation config names none.
    """
    ends = None if model.generation_config is None else model.generation_config.eos_token_id
    if ends is None:
        raise ValueError("the model names no end token: set model.generation_config.eos_token_id")
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
    """Within the block draws come from `seed`; afterwards the caller's random state is as it was."""
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the GPUs too
            yield
        return
    count = torch.get_device_module(device.type).device_count()
    with torch.random.fork_rng(devices=range(count), device_type=device.type):
        torch.manual_seed(seed)
        yield


def _longest_first(dataset: Dataset) -> list[int]:
    """Rows with images first, then by size: like stands beside like, and too large a batch fails at once."""

    def size(index: int) -> tuple[bool, int]:
        row = dataset[index]
        images = _images(row)
        # About 1000 pixels or 4 characters make a token.
        tokens = sum(i.width * i.height for i in images) // 1000
        return bool(images), tokens + sum(len(message["content"]) for message in row["prompt"]) // 4

    return sorted(range(len(dataset)), key=size, reverse=True)


def _batches(dataset: Dataset, jobs: Sequence[int], size: int) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Batches of (index, row) that do not mix rows with and without images."""
    batch: list[tuple[int, dict[str, Any]]] = []
    index, row = -1, {}
    for job in jobs:
        if job != index:
            index, row = job, dataset[job]
        if batch and (len(batch) == size or bool(_images(row)) != bool(_images(batch[-1][1]))):
            yield batch
            batch = []
        batch.append((index, row))
    yield batch


def _images(row: Mapping[str, Any]) -> list[Any]:
    return row.get("images") or []


def _complete(
    model: Any, processor: Any, rows: Sequence[Mapping[str, Any]], config: GenerationConfig
) -> list[tuple[str, bool]]:
    """Text of one completion for each row, and whether it was truncated."""
    inputs = encode_prompts(processor, rows).to(model.device)
    output = model.generate(**inputs, generation_config=config)
    new_ids = output[:, inputs["input_ids"].shape[1] :].tolist()
    kept = [_until_end(ids, config.eos_token_id) for ids in new_ids]
    texts = _tokenizer(processor).batch_decode([ids for ids, _ in kept], skip_special_tokens=True)
    return [(text, not ended) for text, (_, ended) in zip(texts, kept, strict=True)]


def encode_prompts(processor: Any, rows: Sequence[Mapping[str, Any]]) -> Any:
    """The model's inputs for the rows' prompts, generation prompt included, padded on the left.

    Raises:
        ValueError: a row with images for a tokenizer, or without a user message to put them in.
    """
    options: dict[str, Any] = {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
    # Completions follow the prompts' last column, so that padding stands on the left.
    padding: dict[str, Any] = {"padding": True, "padding_side": "left", "return_tensors": "pt"}
    if isinstance(processor, ProcessorMixin):
        messages = [messages_with_images(row) for row in rows]
        return processor.apply_chat_template(messages, **options, processor_kwargs=padding)
    if any(_images(row) for row in rows):
        raise ValueError(
            f"row {rows[0]['id']!r} has images, {type(processor).__name__} reads text only: "
            "use a vision-language model with its processor"
        )
    side = padding.pop("padding_side")
    return processor.apply_chat_template(
        [row["prompt"] for row in rows], **options, **padding, tokenizer_kwargs={"padding_side": side}
    )


def messages_with_images(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row's messages in parts; its images stand before the text of the first user message, as in training."""
    images = [{"type": "image", "image": image} for image in _images(row)]
    messages: list[dict[str, Any]] = []
    for message in row["prompt"]:
        parts = [{"type": "text", "text": message["content"]}]
        if images and message["role"] == "user":
            parts, images = images + parts, []
        messages.append({"role": message["role"], "content": parts})
    if images:
        raise ValueError(f"row {row['id']!r} has images and no user message to put them in")
    return messages


def _until_end(ids: list[int], ends: Sequence[int]) -> tuple[list[int], bool]:
    length = next((position for position, token in enumerate(ids) if token in ends), None)
    return (ids, False) if length is None else (ids[:length], True)


def _graded(row: Mapping[str, Any], text: str, truncated: bool) -> Generation:
    return Generation(
        id=row["id"],
        family=row.get("family"),
        answer=row["answer"],
        text=text,
        truncated=truncated,
        **_verdict(text, row["answer"]),
    )


def _verdict(text: str, gold: str) -> dict[str, Any]:
    extracted = extract_answer(text)
    return {"extracted": extracted, "correct": same_answer(extracted, gold)}


def _right(group: Sequence[Generation]) -> int:
    return sum(generation.correct for generation in group)


def _score(groups: Sequence[Sequence[Generation]]) -> Score:
    values = [[float(generation.correct) for generation in group] for group in groups]
    if len(groups) < 2:
        return Score(len(groups), fmean(values[0]), None, None)
    return Score(len(groups), *clustered_interval(values))


def _by_family(groups: Sequence[Sequence[Generation]]) -> dict[str, Score]:
    families: dict[str, list[Sequence[Generation]]] = {}
    for group in groups:
        family = group[0].family
        families.setdefault(_NO_FAMILY if family is None else family, []).append(group)
    return {family: _score(members) for family, members in families.items()}


def _powers_of_two(limit: int) -> list[int]:
    return [2**power for power in range(limit.bit_length())]


def _vote_is_right(group: Sequence[Generation]) -> bool:
    vote = majority_vote([generation.extracted for generation in group], same_answer)
    # The vote is some completion's own answer, and that completion has its verdict.
    return vote is not None and next(g.correct for g in group if g.extracted == vote)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _interval(score: Score) -> str:
    if score.low is None or score.high is None:
        return "-"
    return f"[{_percent(score.low)}, {_percent(score.high)}]"


def _parsed(line: str, where: str) -> Generation:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error})") from error
    names = {field.name for field in fields(Generation)}
    if not isinstance(values, dict) or set(values) != names:
        found = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise ValueError(f"{where}: a generation has the fields {sorted(names)}, found {found}")
    return Generation(**values)
