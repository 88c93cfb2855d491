"""The evaluation that belongs to a run: before and after training, with the same prompts and the same draws."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from accelerate.utils import gather_object
from datasets import Dataset
from transformers import PreTrainedModel, TrainerCallback, TrainerState

from cepo.data.messages import completion_text
from cepo.errors import RecordError
from cepo.evaluate import (
    EvalReport,
    Generation,
    Team,
    encode_prompts,
    end_tokens,
    generate_answers,
    load_generations,
    report,
    save_generations,
    stops_of,
)
from cepo.glossary import DataRow
from cepo.models.loading import Processor
from cepo.runs.callbacks import AccuracyCurve
from cepo.runs.evaluation_parts import PartsOfEvaluation
from cepo.runs.recipe import RunConfig
from cepo.trainer.checkpoint import writing
from cepo.trainer.for_generation import policy_for_generation
from cepo.trainer.trainer import CEPOTrainer

__all__ = ["AtStart", "accuracy_curve", "evaluate_run", "first_prompts"]

BATCH = 64
"""Completions that one process generates together."""

Found = TypeVar("Found")


def evaluate_run(
    trainer: CEPOTrainer,
    data: Dataset | None,
    run: RunConfig,
    file: Path,
    say: Callable[[str], None],
    *,
    keep: bool,
    identity: Mapping[str, object],
) -> EvalReport | None:
    """Evaluate on all processes and save the generations (a collective call); None: nothing is to be evaluated.

    The sampling seed is the same before and after training. `keep`: take what `file` holds if it is of these problems.
    What a start that was cut off has left of the same evaluation is not generated again; `identity`: of the run that it
    must be of.
    """
    if data is None:
        return None
    is_main, when = trainer.accelerator.is_main_process, file.stem
    kept = _of_main(trainer, (lambda: _kept(file, data, run.eval_samples)) if keep else lambda: None)
    if kept is not None:
        say(f"evaluated {when} training: {file} is kept")
        return report(kept, run.eval_samples)
    say(f"evaluating {when} training: {len(data)} held-out problems x {run.eval_samples}")
    parts = PartsOfEvaluation(file.with_suffix(".parts"), _about(trainer, data, run, identity))
    done = _of_main(trainer, parts.found)
    generations = _generate(trainer, data, run.eval_samples, done=done, keep=parts.keep)
    if is_main:
        with writing(file):
            save_generations(generations, file)
        parts.remove()
    return report(generations, run.eval_samples)


class AtStart(TrainerCallback):
    """Evaluates once the weights are sharded, before the first step: until then no process can run the model.

    Attributes:
        report: what was found; None: training goes on from a later step.
    """

    def __init__(self, evaluate: Callable[[], EvalReport | None]) -> None:
        self.evaluate = evaluate
        self.report: EvalReport | None = None

    def on_train_begin(self, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        if state.global_step == 0:
            self.report = self.evaluate()


def accuracy_curve(trainer: CEPOTrainer, data: Dataset, run: RunConfig, file: Path) -> AccuracyCurve:
    """Evaluates the first problems during training, on all processes, with the same sampling seed at every step."""
    first = data.select(range(min(run.eval_curve_limit, len(data))))

    def measure() -> list[bool]:
        return [generation.correct for generation in _generate(trainer, first, progress=False, batch=len(first))]

    return AccuracyCurve(file, run.eval_curve_every, measure)


def _generate(
    trainer: CEPOTrainer,
    data: Dataset,
    samples: int = 1,
    *,
    progress: bool = True,
    batch: int | None = None,
    done: Mapping[int, Sequence[Generation]] | None = None,
    keep: Callable[[int, Sequence[Generation]], None] = lambda number, made: None,
) -> list[Generation]:
    processes, size = trainer.accelerator.num_processes, batch or BATCH
    talks = bool(trainer.tools)
    team = Team(
        index=trainer.accelerator.process_index,
        count=processes,
        in_step=trainer.weights_are_sharded or talks,
        gather=gather_object if processes > 1 else list,
        done=done or {},
        keep=keep,
    )
    with nullcontext(cast(PreTrainedModel, trainer.model)) if talks else policy_for_generation(trainer) as model:
        return generate_answers(
            model,
            cast(Processor, trainer.processing_class),
            data,
            samples=samples,
            temperature=1.0,
            max_new_tokens=trainer.args.max_completion_length or 256,
            batch_size=size,
            seed=0,
            progress=progress,
            grading=trainer.args.grading,
            stops=stops_of(trainer.args.generation_kwargs),
            autocast_bf16=bool(trainer.args.bf16),
            team=team,
            answers=partial(_conversations, trainer, min(size, len(data) * samples)) if talks else None,
        )


def _conversations(trainer: CEPOTrainer, size: int, rows: Sequence[DataRow]) -> list[tuple[str, bool]]:
    """What the model says in conversations with its tools, whose words are left out; TRL's own loop, as in training.

    `size`: every process asks for as many at a time, and a batch is drawn alike on any number of them.
    """
    found = trainer.converse([*rows, *[rows[-1]] * (size - len(rows))])
    return [(completion_text(completion), cut) for completion, cut in found[: len(rows)]]


def _about(trainer: CEPOTrainer, data: Dataset, run: RunConfig, identity: Mapping[str, object]) -> dict[str, object]:
    """What two evaluations must have in common for one to go on with the other's generations."""
    problems = hashlib.sha256(json.dumps([data["id"][:], data["answer"][:]], default=str).encode()).hexdigest()
    return {
        "step": trainer.state.global_step,
        "problems": problems,
        "samples": run.eval_samples,
        "batch": BATCH,
        "max_new_tokens": trainer.args.max_completion_length,
        "grading": repr(trainer.args.grading),
        "stops": repr(stops_of(trainer.args.generation_kwargs)),
        "run": hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest(),
    }


def _of_main(trainer: CEPOTrainer, find: Callable[[], Found]) -> Found:
    """What the main process finds on its disk, on every process (a collective call)."""
    own = find() if trainer.accelerator.is_main_process else None
    return cast(Found, gather_object([own])[0] if trainer.accelerator.num_processes > 1 else own)


def first_prompts(trainer: CEPOTrainer) -> dict[str, object]:
    """The first training problem's prompt as training, each teacher (told a placeholder) and an evaluation ask it.

    Images are left out of the texts. `image_tokens`: what they come to at the size at which each shows them;
    `ends`: the tokens and texts that end a completion.
    """
    row = cast(Dataset, trainer.train_dataset)[0]
    prompt = row["prompt"]
    processor = cast(Processor, trainer.processing_class)
    student = trainer.prompt_ids(row)
    tokenizer = trainer.tokenizer
    asked_alike = isinstance(prompt, str) or bool(trainer.tools)
    evaluated = student if asked_alike else encode_prompts(processor, [row])["input_ids"][0].tolist()
    view = trainer.views(row) if trainer.told else None
    base, ids = (view.prompt, view.prompt_ids) if view else (prompt, student)

    def text(ids: Sequence[int]) -> str:
        return str(tokenizer.decode([token for token in ids if token != trainer.image_token_id]))

    def images(ids: Sequence[int]) -> int:
        return sum(token == trainer.image_token_id for token in ids)

    told = {
        name: trainer.prompts.prompt_ids(base, ids, None if name.startswith("bare") else "[reference]", "answer")
        for name in trainer.told
    }
    model = cast(PreTrainedModel, trainer.accelerator.unwrap_model(trainer.model))
    stops = stops_of(trainer.args.generation_kwargs)
    return {
        "training": text(student),
        "teachers": {name: text(ids) for name, ids in told.items()},
        "evaluation": text(evaluated),
        "image_tokens": {
            "training": images(student),
            "teachers": {name: images(ids) for name, ids in told.items()},
            "evaluation": images(evaluated),
        },
        "ends": {
            "training": sorted({*trainer.eos_token_ids, *stops.ids}),
            "evaluation": sorted({*end_tokens(model), *stops.ids}),
            "texts": list(stops.texts),
        },
    }


def _kept(file: Path, data: Dataset, samples: int) -> list[Generation] | None:
    """The generations of an earlier start, if they are of these problems, in their order."""
    try:
        found = load_generations(file) if file.is_file() else []
    except (RecordError, UnicodeDecodeError):
        return None
    wanted = list(zip(data["id"], data["answer"], strict=True))
    same = [(one.id, one.answer) for one in found] == [pair for pair in wanted for _ in range(samples)]
    return found if same else None
