"""One training run from a recipe: load, evaluate, train, evaluate, and a folder that tells all of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import cast

from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedModel
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from cepo.data.rewards import get_reward
from cepo.errors import CepoError, SettingError
from cepo.evaluate import EvalReport, generate_answers, report, save_generations
from cepo.models.loading import Processor, load_model
from cepo.runs.callbacks import MetricsFile, Progress
from cepo.runs.folder import RunFolder, resolved_config, write_atomically
from cepo.runs.identity import identify
from cepo.runs.problems import load_held_out, load_training
from cepo.runs.recipe import RunConfig
from cepo.runs.summary import RunSummary, summarise
from cepo.trainer.checks import check_folder, check_vllm
from cepo.trainer.config import CEPOConfig
from cepo.trainer.trainer import CEPOTrainer, last_checkpoint

__all__ = ["run_training"]

Say = Callable[[str], None]


def run_training(run: RunConfig, config: CEPOConfig, say: Say) -> RunSummary:
    """Train as the recipe says and return the summary, which is also written to `summary.json`.

    A run folder that holds a checkpoint of the same run is continued. When training is interrupted or fails
    after its first step, the state is saved before the error goes on.

    Raises:
        CepoError, OSError: whatever is wrong with model, data or folder, before anything is generated.
    """
    folder = RunFolder(config.run_folder)
    check_folder(folder.path)
    check_vllm(config)
    identity = identify(run, config)
    if last_checkpoint(folder.path):
        folder.check_same_run(identity, resolved_config(run, config))

    data, held_out = load_training(run, config), load_held_out(run, config)
    trainer = _build_trainer(run, config, data, folder)
    if trainer.accelerator.is_main_process:
        folder.write_provenance(run, config, identity)

    before = _evaluate(trainer, held_out, run, folder, "before", say)
    say(f"training: {config.method}, {len(data)} problems, up to {config.max_steps} steps")
    started = time.time()
    _train(trainer, folder)
    seconds = time.time() - started
    after = _evaluate(trainer, held_out, run, folder, "after", say)

    trainer.save_model(str(folder.model))
    summary = summarise(trainer, before, after, seconds)
    if trainer.accelerator.is_main_process:
        write_atomically(folder.summary, json.dumps(summary.to_dict(), indent=1) + "\n")
    return summary


def _build_trainer(run: RunConfig, config: CEPOConfig, data: Dataset, folder: RunFolder) -> CEPOTrainer:
    """The trainer with the model and its rewards. SettingError: what TRL refuses of the settings."""
    rewards = [get_reward(name) for name in run.rewards]
    model, processor = load_model(run.model, run.dtype, run.attn_implementation, config.trust_remote_code)
    lora = None
    if run.lora_rank is not None:
        lora = LoraConfig(r=run.lora_rank, lora_alpha=run.lora_alpha, target_modules="all-linear")
    try:
        trainer = CEPOTrainer(
            model=model,
            reward_funcs=rewards,
            args=config,
            train_dataset=data,
            processing_class=processor,
            peft_config=lora,
            callbacks=[MetricsFile(folder.metrics), Progress()],
        )
    except CepoError:
        raise
    except ValueError as error:  # TRL's and transformers' word for settings that do not go together
        raise SettingError(str(error)) from error
    for theirs in (ProgressCallback, PrinterCallback):  # they print every metric of every step
        trainer.remove_callback(theirs)
    return trainer


def _train(trainer: CEPOTrainer, folder: RunFolder) -> None:
    checkpoint = last_checkpoint(folder.path)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except (Exception, KeyboardInterrupt):
        saved = folder.path / f"checkpoint-{trainer.state.global_step}"
        if trainer.state.global_step > 0 and trainer.accelerator.num_processes == 1 and not saved.exists():
            trainer.save_now()
        raise


def _evaluate(
    trainer: CEPOTrainer, data: Dataset | None, run: RunConfig, folder: RunFolder, when: str, say: Say
) -> EvalReport | None:
    """Evaluate on the main process; the same sampling seed before and after."""
    if data is None or not trainer.accelerator.is_main_process:
        return None
    say(f"evaluating {when} training: {len(data)} held-out problems x {run.eval_samples}")
    generations = generate_answers(
        cast(PreTrainedModel, trainer.accelerator.unwrap_model(trainer.model)),
        cast(Processor, trainer.processing_class),
        data,
        samples=run.eval_samples,
        temperature=1.0,
        max_new_tokens=trainer.args.max_completion_length or 256,
        seed=0,
        grading=trainer.args.grading,
        autocast_bf16=bool(trainer.args.bf16),
    )
    file = folder.generations(when)
    file.parent.mkdir(exist_ok=True)
    save_generations(generations, file)
    return report(generations, run.eval_samples)
