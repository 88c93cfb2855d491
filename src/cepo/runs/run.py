"""One training run from a recipe: load, evaluate, train, evaluate, and a folder that tells all of it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedModel
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from cepo.data.rewards import get_reward
from cepo.data.tools import get_tool
from cepo.errors import CepoError, ModelError, OutOfMemory, RunFolderError, SettingError
from cepo.evaluate import EvalReport, own_randomness
from cepo.models.processor import fix_template_arguments
from cepo.models.vision import adapters_outside
from cepo.runs.callbacks import MetricsFile, Progress
from cepo.runs.evaluation import AtStart, accuracy_curve, evaluate_run, first_prompts
from cepo.runs.folder import RunFolder, is_finished, resolved_config, write_atomically
from cepo.runs.identity import Identity, identify
from cepo.runs.lock import run_lock
from cepo.runs.out_of_memory import Sizes, advice, is_out_of_memory
from cepo.runs.policy import load_policy
from cepo.runs.problems import load_held_out, load_training
from cepo.runs.recipe import RunConfig
from cepo.runs.subject import subject_of
from cepo.runs.summary import RunSummary, asked, summarise
from cepo.trainer.checkpoint import (
    COMPLETE,
    damage,
    last_checkpoint,
    mark_complete,
    remove_unfinished,
    usable_checkpoint,
    writing,
)
from cepo.trainer.checks import check_folder, check_vllm
from cepo.trainer.config import CEPOConfig
from cepo.trainer.fitting import check_held_out, without_long_rows
from cepo.trainer.stopping import StopAtStep, Stopped, Stopping
from cepo.trainer.trainer import CEPOTrainer

__all__ = ["run_training"]

Say = Callable[[str], None]


def run_training(run: RunConfig, config: CEPOConfig, say: Say) -> RunSummary | None:
    """Train as the recipe says and return the summary, which is also written to `summary.json`.

    A run folder that holds a checkpoint of the same run is continued; of a finished run only what is missing is made,
    and None is returned where nothing is. When training is stopped by a signal or fails, the state of its last whole
    step is saved before the error goes on.

    Raises:
        CepoError, OSError: whatever is wrong with model, data or folder, before anything is generated.
        Stopped: by a signal; the summary says so as well.
    """
    folder = RunFolder(config.run_folder)
    check_folder(folder.path)
    check_vllm(config)
    stopping = Stopping()
    with run_lock(folder.path), stopping.listening():
        return _Work(run, config, folder, stopping, say).do()


@dataclass
class _Work:
    """A run that has its folder for itself."""

    run: RunConfig
    config: CEPOConfig
    folder: RunFolder
    stopping: Stopping
    say: Say

    def do(self) -> RunSummary | None:
        checkpoint, done = self._found()
        if done is not None and self._has_all(done):
            return None
        data, held_out = load_training(self.run, self.config), load_held_out(self.run, self.config)
        trainer = _build_trainer(self.run, self.config, data, held_out, self.folder)
        if held_out is not None and self.run.eval_curve_every:
            trainer.add_callback(accuracy_curve(trainer, held_out, self.run, self.folder.curve))
        self._prepare(trainer, is_new=checkpoint is None and done is None)
        kept = checkpoint is not None
        at_start = AtStart(lambda: self._evaluate(trainer, held_out, "before", keep=kept))
        if trainer.weights_are_sharded:
            trainer.add_callback(at_start)
            if done is not None and checkpoint is None:
                raise SettingError(
                    f"{self.folder.path} is a finished run, of which no checkpoint is left to go on from on sharded "
                    "weights: evaluate its model with `cepo eval`, or on one process"
                )
        else:
            at_start.report = at_start.evaluate()
        started, at_step = time.monotonic(), StopAtStep(self.stopping)
        with self._told(trainer, at_step, started, done):
            if done is not None and checkpoint is None:
                trainer.load_weights(self.folder.model)
                trainer.state.global_step = trainer.state.max_steps = int(done["steps"])
            else:
                problems = len(cast(Dataset, trainer.train_dataset))
                self.say(f"training: {self.config.method}, {problems} problems, up to {self.config.max_steps} steps")
                with at_step.training(trainer):
                    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            seconds = time.monotonic() - started
            if trainer.state.global_step < trainer.state.max_steps:
                return self._ended_early(trainer, seconds)
            self._save_model(trainer)
            after = self._evaluate(trainer, held_out, "after", keep=False)
            before = at_start.report
        if done is not None:
            seconds = float(done["train_seconds"])
        return self._conclude(trainer, summarise(trainer, self._asked, seconds, before, after))

    def _found(self) -> tuple[Path | None, Mapping[str, Any] | None]:
        """The checkpoint to go on from, and the summary of a training that has come to its end."""
        checkpoint, summary = usable_checkpoint(self.folder.path, self.say), self.folder.read_summary()
        if checkpoint is not None or is_finished(summary):
            self.folder.check_same_run(self._identity, resolved_config(self.run, self.config))
        if summary is None or not is_finished(summary) or not self._has_model():
            return checkpoint, None
        epochs = summary.get("asked", {}).get("num_train_epochs", 0)
        wanted, steps = self.config.max_steps, int(summary["steps"])
        trained = steps >= wanted if wanted > 0 else epochs >= self.config.num_train_epochs
        return checkpoint, summary if trained else None

    def _has_model(self) -> bool:
        """Whether `model/` is there, and as it was written."""
        fault = None
        if (self.folder.model / COMPLETE).is_file() and (fault := damage(self.folder.model)) is not None:
            self.say(f"{fault}; it is made again")
        return self.folder.model.is_dir() and fault is None

    @cached_property
    def _identity(self) -> Identity:
        return identify(self.run, self.config)

    @cached_property
    def _asked(self) -> dict[str, Any]:
        return asked(self.run, self.config)

    def _has_all(self, done: Mapping[str, Any]) -> bool:
        """Nothing is missing of what is asked for now."""
        return done.get("asked", self._asked)["evaluation"] == self._asked["evaluation"]

    def _prepare(self, trainer: CEPOTrainer, *, is_new: bool) -> None:
        """Clear what kills have left, try to write what will be written, and say what the run is."""
        if trainer.accelerator.is_main_process:
            if self.folder.identity.is_file():
                remove_unfinished(self.folder.path)
            if is_new:
                _try_to_save(trainer, self.folder.path / "untrained.part")
            self.folder.write_provenance(self.run, self.config, self._identity)
            write_atomically(self.folder.prompts, json.dumps(first_prompts(trainer), indent=1) + "\n")
        trainer.accelerator.wait_for_everyone()

    def _evaluate(self, trainer: CEPOTrainer, data: Dataset | None, when: str, *, keep: bool) -> EvalReport | None:
        file, identity = self.folder.generations(when), self._identity.record
        return evaluate_run(trainer, data, self.run, file, self.say, keep=keep, identity=identity)

    @contextmanager
    def _told(
        self, trainer: CEPOTrainer, at_step: StopAtStep, started: float, done: Mapping[str, Any] | None
    ) -> Iterator[None]:
        """What stops the block is saved and told before it goes on; the summary of a training that is `done` stays."""
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            if not trainer.accelerator.is_main_process and self.stopping.asked is not None:
                raise Stopped(self.stopping.asked) from error  # the main process has saved, and is gone
            saved = at_step.save(trainer) if not isinstance(error, RunFolderError) else None
            saved = saved or last_checkpoint(self.folder.path)
            kept = f"the same command goes on from {saved.name}" if saved else "no step had ended: nothing is lost"
            step, steps = trainer.state.global_step, trainer.state.max_steps
            where = f"in step {step + 1} of {steps}" if step < steps else "after the last step"
            if isinstance(error, KeyboardInterrupt):
                why = f"{str(error) or 'interrupted'} {where}"
                if done is None:
                    self._conclude(trainer, summarise(trainer, self._asked, time.monotonic() - started, why=why))
                self.say(f"stopped by {why}; {kept}")
            if is_out_of_memory(error):
                raise OutOfMemory(f"out of memory {where}: {self._advice(trainer)}; {kept}") from error
            raise

    def _advice(self, trainer: CEPOTrainer) -> str:
        names = [entry.name for entry in fields(Sizes)]
        return advice(trainer.failed_in, Sizes(**{name: getattr(self.config, name) for name in names}))

    def _ended_early(self, trainer: CEPOTrainer, seconds: float) -> RunSummary:
        """Somebody's callback has ended the training: what is saved can be gone on from, and is no result."""
        step, steps = trainer.state.global_step, trainer.state.max_steps
        checkpoint = self.folder.path / f"checkpoint-{step}"
        if not (checkpoint / COMPLETE).is_file():
            trainer.save_now()
        why = f"a callback ended the training at step {step} of {steps}"
        self.say(f"stopped: {why}; the same command goes on from {checkpoint.name}")
        return self._conclude(trainer, summarise(trainer, self._asked, seconds, why=why))

    def _save_model(self, trainer: CEPOTrainer) -> None:
        """`model/`, whole or not at all."""
        part = self.folder.path / "model.part"
        with writing(self.folder.model):
            trainer.save_whole(part)
            trainer.accelerator.wait_for_everyone()
            if trainer.accelerator.is_main_process:
                mark_complete(part)
                shutil.rmtree(self.folder.model, ignore_errors=True)
                os.replace(part, self.folder.model)

    def _conclude(self, trainer: CEPOTrainer, summary: RunSummary) -> RunSummary:
        if trainer.accelerator.is_main_process:
            write_atomically(self.folder.summary, json.dumps(summary.to_dict(), indent=1) + "\n")
        return summary


def _build_trainer(
    run: RunConfig, config: CEPOConfig, data: Dataset, held_out: Dataset | None, folder: RunFolder
) -> CEPOTrainer:
    """The trainer with the model and its rewards. SettingError: what TRL refuses of the settings."""
    during = config.eval_strategy != "no"
    if during and held_out is None:
        raise SettingError(
            f"eval_strategy={str(config.eval_strategy)!r} evaluates during training, on eval_data, which is not set: "
            "set it, or eval_strategy: no"
        )
    rewards = [get_reward(name) for name in run.rewards]
    model, processor = load_policy(run, config)
    fix_template_arguments(processor, cast(dict[str, object], config.chat_template_kwargs or {}))
    subject = subject_of(run, config, data, processor, model.config)
    data = without_long_rows(subject, data, run.data) if run.drop_invalid else data
    try:
        trainer = CEPOTrainer(
            model=model,
            reward_funcs=rewards,
            args=config,
            train_dataset=data,
            eval_dataset=held_out if during else None,
            processing_class=processor,
            peft_config=_lora(run, model),
            callbacks=[MetricsFile(folder.metrics), Progress()],
            tools=[get_tool(name) for name in run.tools] or None,
        )
    except CepoError:
        raise
    except ValueError as error:  # TRL's and transformers' word for settings that do not go together
        raise SettingError(str(error)) from error
    with own_randomness(trainer.accelerator.device, config.seed):  # the training is the same with eval_data and without
        check_held_out(subject, held_out)
    ends = model.generation_config
    if ends is not None and set(trainer.eos_token_ids) != {*_listed(ends.eos_token_id)}:
        ends.eos_token_id = list(trainer.eos_token_ids)  # the evaluation ends where training ends
    for theirs in (ProgressCallback, PrinterCallback):  # they print every metric of every step
        trainer.remove_callback(theirs)
    return trainer


def _lora(run: RunConfig, model: PreTrainedModel) -> LoraConfig | None:
    if run.lora_rank is None:
        return None
    outside = adapters_outside(model) if run.freeze_vision else None
    targets = run.lora_target_modules or "all-linear"
    return LoraConfig(r=run.lora_rank, lora_alpha=run.lora_alpha, target_modules=targets, exclude_modules=outside)


def _listed(ids: int | list[int] | None) -> list[int]:
    return [] if ids is None else ids if isinstance(ids, list) else [ids]


def _try_to_save(trainer: CEPOTrainer, folder: Path) -> None:
    """Write the untrained model, its processor and its generation config once, and remove them.

    Raises:
        ModelError, RunFolderError: what a checkpoint would fail on hours later.
    """
    try:
        with writing(folder):
            trainer.save_untrained(folder)
    except CepoError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        hint = "; mend the model's generation_config.json" if "GenerationConfig" in reason else ""
        raise ModelError(f"the model cannot be saved, and every checkpoint would fail: {reason}{hint}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
