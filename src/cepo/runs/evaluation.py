"""The evaluation that belongs to a run: before and after training, with the same prompts and the same draws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from datasets import Dataset
from transformers import PreTrainedModel

from cepo.errors import RecordError, SettingError
from cepo.evaluate import (
    EvalReport,
    Generation,
    encode_prompts,
    end_tokens,
    generate_answers,
    load_generations,
    report,
    save_generations,
)
from cepo.models.loading import Processor
from cepo.runs.callbacks import AccuracyCurve
from cepo.runs.recipe import RunConfig
from cepo.trainer.checkpoint import writing
from cepo.trainer.trainer import CEPOTrainer

__all__ = ["accuracy_curve", "evaluate_run", "first_prompts"]


def evaluate_run(
    trainer: CEPOTrainer, data: Dataset | None, run: RunConfig, file: Path, say: Callable[[str], None], *, keep: bool
) -> EvalReport | None:
    """Evaluate on the main process and save the generations; None: nothing is to be evaluated, or not here.

    The sampling seed is the same before and after training. `keep`: take what `file` holds if it is of these problems.
    """
    if data is None or not trainer.accelerator.is_main_process:
        return None
    when = file.stem
    if keep and (kept := _kept(file, data, run.eval_samples)) is not None:
        say(f"evaluated {when} training: {file} is kept")
        return report(kept, run.eval_samples)
    say(f"evaluating {when} training: {len(data)} held-out problems x {run.eval_samples}")
    generations = _generate(trainer, data, run.eval_samples)
    file.parent.mkdir(exist_ok=True)
    with writing(file):
        save_generations(generations, file)
    return report(generations, run.eval_samples)


def accuracy_curve(trainer: CEPOTrainer, data: Dataset, run: RunConfig, file: Path) -> AccuracyCurve:
    """Evaluates the first problems during training, with the same sampling seed at every step.

    Raises:
        SettingError: the weights are sharded, and no process can evaluate alone: all would wait for ever.
    """
    if trainer.weights_are_sharded:
        raise SettingError(
            f"eval_curve_every={run.eval_curve_every} evaluates on the main process alone, and here the weights are "
            "sharded: set eval_curve_every: 0, and evaluate checkpoints with `cepo eval`"
        )
    first = data.select(range(min(run.eval_curve_limit, len(data))))

    def measure() -> list[bool]:
        return [generation.correct for generation in _generate(trainer, first, progress=False, batch=len(first))]

    return AccuracyCurve(file, run.eval_curve_every, measure)


def _generate(
    trainer: CEPOTrainer, data: Dataset, samples: int = 1, *, progress: bool = True, batch: int = 64
) -> list[Generation]:
    return generate_answers(
        cast(PreTrainedModel, trainer.accelerator.unwrap_model(trainer.model)),
        cast(Processor, trainer.processing_class),
        data,
        samples=samples,
        temperature=1.0,
        max_new_tokens=trainer.args.max_completion_length or 256,
        batch_size=batch,
        seed=0,
        progress=progress,
        grading=trainer.args.grading,
        autocast_bf16=bool(trainer.args.bf16),
    )


def first_prompts(trainer: CEPOTrainer) -> dict[str, object]:
    """The first training problem's prompt as training, each teacher (told a placeholder) and an evaluation ask it.

    Images stand as their placeholder, once. `ends`: the tokens that end a completion.
    """
    row = cast(Dataset, trainer.train_dataset)[0]
    prompt = row["prompt"]
    processor = cast(Processor, trainer.processing_class)
    student = trainer.prompt_ids(row)
    shown = [token for token in student if token != trainer.image_token_id]
    tokenizer = trainer.tokenizer
    evaluated = encode_prompts(processor, [row])["input_ids"][0].tolist() if isinstance(prompt, list) else student
    told = {name: trainer.prompts.prompt_ids(prompt, shown, "[reference]", "answer") for name in trainer.told}
    model = cast(PreTrainedModel, trainer.accelerator.unwrap_model(trainer.model))
    return {
        "training": str(tokenizer.decode(shown)),
        "teachers": {name: str(tokenizer.decode(ids)) for name, ids in told.items()},
        "evaluation": str(tokenizer.decode([token for token in evaluated if token != trainer.image_token_id])),
        "ends": {"training": sorted(trainer.eos_token_ids), "evaluation": sorted(end_tokens(model))},
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
