"""TRL's trainer behind public names: every private name of TRL and transformers that we rely on stands here, once, or,
where it is of prompts and images, in `cepo.trainer.internals_prompts`.

What a new release changed is changed here and in `cepo.trainer.batch`; tests/trainer/test_internals.py names each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any, Literal, cast

import torch
from accelerate.utils import DistributedType, gather_object, send_to_device
from torch import Tensor, nn
from transformers.trainer_utils import align_special_tokens
from trl import GRPOTrainer
from trl.trainer import utils as trl_utils

from cepo.errors import RunFolderError, SettingError
from cepo.glossary import Completion, DataRow, Prompt
from cepo.trainer.batch import Batch, RawBatch
from cepo.trainer.checkpoint import mark_complete, rotate, window_file, writing
from cepo.trainer.internals_prompts import PromptTrainer
from cepo.trainer.prompt_host import Rows
from cepo.trainer.stopping import Boundary, StopAtStep, random_state

__all__ = ["Generate", "HostTrainer", "Loss", "Rows", "check_kernels"]

Generate = Callable[[Rows], RawBatch]
"""TRL's generation and grading of given rows: the generated batch."""

Loss = Callable[[nn.Module, RawBatch], Tensor]
"""TRL's loss of a micro-batch."""


class HostTrainer(PromptTrainer):
    """GRPOTrainer whose private hooks call public methods, to be overridden: `make_batch`, `micro_batches`,
    `rewarded`, `loss_of`, `checkpoint_written`, `checkpoint_loaded`, `step_ended`."""

    _name = "CEPO"  # in model cards
    stopping: StopAtStep | None = None
    """Who stops the training on a signal; nobody but in `cepo train`."""
    _said: Sequence[Completion] = ()
    """The completions of the last generation."""
    _converses = False
    _random_of_all: Sequence[Mapping[str, Any]] | None = None

    @staticmethod
    def named(others: Sequence[object], more: Mapping[str, object]) -> dict[str, Any]:
        """What stands behind `model, reward_funcs, args` in a call, by TRL's names; TypeError as from TRL itself."""
        bound = signature(GRPOTrainer).bind(None, None, None, *others, **more).arguments
        return {name: value for name, value in bound.items() if name not in ("model", "reward_funcs", "args")}

    # --- hooks ------------------------------------------------------------------------------------------------

    def make_batch(self, inputs: Rows, generate: Generate) -> RawBatch:
        """The batch to train on, from the rows of the data set."""
        return generate(inputs)

    def micro_batches(self, batches: Sequence[RawBatch]) -> Sequence[RawBatch]:
        """The micro-batches to train on, from those that TRL has cut the generated batch into."""
        return batches

    def rewarded(self, rewards: Tensor, completions: list[Completion]) -> None:
        """Called with the rewards (all rows, functions) of a generation, over all processes, and our completions."""

    def loss_of(self, model: nn.Module, inputs: RawBatch, loss: Loss) -> Tensor:
        """The loss of a micro-batch."""
        return loss(model, inputs)

    def checkpoint_written(self, folder: Path) -> None:
        """Called when transformers' files of a checkpoint are there, on every process (`save_alone`: on the one that
        writes), before it is marked as whole."""

    def step_ended(self) -> None:
        """Called after each optimiser step, when its callbacks are through and its checkpoint is written."""
        if self.stopping is not None:
            self.stopping.step_ended(self)

    def checkpoint_loaded(self, folder: Path) -> None:
        """Called when training goes on from a checkpoint."""

    def _generate_and_score_completions(self, inputs: Rows) -> dict[str, Any]:
        return dict(self.make_batch(inputs, super()._generate_and_score_completions))

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        makes = self.is_training and (self._step % self._window_steps == 0 or self._buffered_inputs is None)
        inputs = super()._prepare_inputs(generation_batch)
        if makes:
            batches = [dict(batch) for batch in self.micro_batches(cast(list[RawBatch], self._buffered_inputs))]
            self._buffered_inputs, inputs = batches, batches[self._step % len(batches)]
        return inputs

    def _calculate_rewards(
        self, inputs: Rows, prompts: list[Prompt], completions: list[Completion], completion_ids_list: list[list[int]]
    ) -> Tensor:
        if self._converses:  # nobody asks what they are worth, and the rows may lack what a reward reads
            self._said = completions
            shape = (len(prompts) * self.accelerator.num_processes, len(self.reward_funcs))
            return torch.zeros(shape, device=self.accelerator.device)
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._said = completions
        self.rewarded(rewards, completions)
        return rewards

    def _compute_loss(self, model: nn.Module, inputs: RawBatch) -> Tensor:
        return self.loss_of(model, inputs, super()._compute_loss)

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        """Old checkpoints are not TRL's to delete: it would do so before ours is whole."""
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        with writing(folder):
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.args.save_total_limit = limit
            self.checkpoint_written(folder)
            self._complete(folder)

    def _complete(self, folder: Path) -> None:
        """The half-used batches of every process; then the mark, and only then are older checkpoints deleted."""
        if (window := self.window) is not None:
            torch.save(window, folder / window_file(self.accelerator.process_index))
        if not self.saves_alone:
            self.accelerator.wait_for_everyone()
        if self.args.should_save:
            mark_complete(folder)
            rotate(folder.parent, self.args.save_total_limit, self.state.best_model_checkpoint)

    def _save_rng_state(self, output_dir: str) -> None:
        if self._random_of_all is None:
            return super()._save_rng_state(output_dir)
        many = len(self._random_of_all) > 1
        for index, state in enumerate(self._random_of_all):
            torch.save(dict(state), Path(output_dir) / (f"rng_state_{index}.pth" if many else "rng_state.pth"))

    def store_flos(self) -> None:
        if self._random_of_all is None:  # it asks the other processes
            super().store_flos()

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        super()._maybe_log_save_evaluate(*args, **kwargs)
        self.step_ended()

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """TRL's trains at least one step, also where a resumed run has made them all."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.checkpoint_loaded(Path(checkpoint))
            if (file := Path(checkpoint) / window_file(self.accelerator.process_index)).is_file():
                window = torch.load(file, map_location="cpu", weights_only=True)
                self.go_on_within(send_to_device(window, self.accelerator.device))

    # --- public names -----------------------------------------------------------------------------------------

    @property
    def is_training(self) -> bool:
        return cast(nn.Module, self.model).training

    @property
    def is_generating(self) -> bool:
        """Whether rollouts are being made or rewarded: no weight is being changed."""
        return False

    @property
    def weights_are_sharded(self) -> bool:
        """Whether a forward is collective, as under ZeRO-3 and FSDP."""
        kind, plugin = self.accelerator.distributed_type, self.accelerator.state.deepspeed_plugin
        return kind == DistributedType.FSDP or (plugin is not None and plugin.zero_stage == 3)

    def log_step(self, name: str, value: float, mode: Literal["train", "eval"] = "train") -> None:
        """One of this step's metrics, beside TRL's own; `eval`: of the evaluation that runs."""
        self._metrics[mode][name].append(value)

    def log_table(self, name: str, values: Sequence[object]) -> None:
        """A column of TRL's table of completions (`log_completions`), from all processes."""
        self._logs["extra"][name].extend(gather_object(list(values)))

    def converse(self, rows: Sequence[DataRow]) -> list[tuple[Completion, bool]]:
        """What the policy says to each row's prompt, with tools that answer it, as TRL generates in an evaluation; and
        whether it was cut off. A collective call, with equally many rows everywhere; the model is in eval mode.

        TRL's metrics and tables stay as they were.
        """
        kept = self._metrics, self._logs, self.num_generations_eval
        self._metrics, self._logs = {"train": defaultdict(list), "eval": defaultdict(list)}, deepcopy(self._logs)
        self.num_generations_eval, self._converses = 1, True
        try:
            batch = Batch(self._generate_and_score_completions([dict(row) for row in rows]))
        finally:
            self._metrics, self._logs, self.num_generations_eval = kept
            self._converses = False
        ends = {*self.eos_token_ids, self.pad_id}
        cut = [not ids or ids[-1] not in ends for ids in batch.completions()]
        return list(zip(self._said, cut, strict=True))

    def save_now(self) -> None:
        """Write a checkpoint of the present step (a collective call)."""
        self._save_checkpoint(cast(nn.Module, self.model), trial=None)

    def save_alone(self, boundary: Boundary) -> None:
        """Write a checkpoint of a step's end without the other processes; weights must be whole on this one."""
        self._step, self._buffered_inputs = boundary.micro_steps, boundary.window
        self._random_of_all = boundary.random
        try:
            self._save_checkpoint(cast(nn.Module, self.model), trial=None)
        finally:
            self._random_of_all = None

    @property
    def saves_alone(self) -> bool:
        """Whether a checkpoint is being written without the other processes."""
        return self._random_of_all is not None

    def boundary(self) -> Boundary:
        """Of a step that has ended (a collective call)."""
        many = self.accelerator.num_processes > 1
        everyone = gather_object([random_state(many)]) if many else [random_state(many)]
        return Boundary(self.state.global_step, everyone, self._step, self._buffered_inputs)

    @property
    def window(self) -> dict[str, Any] | None:
        """Generated batches of which some are still to be trained on; None: the next step generates."""
        if self._step % self._window_steps == 0:
            return None
        return {"micro_steps": self._step, "window_steps": self._window_steps, "batches": self._buffered_inputs}

    def go_on_within(self, window: Mapping[str, Any]) -> None:
        """Train on what is left of generated batches. Raises RunFolderError: their rows are cut otherwise now."""
        if window["window_steps"] != self._window_steps:
            raise RunFolderError(
                f"the checkpoint lies within batches generated for {window['window_steps']} micro-batches, of which "
                f"there are {self._window_steps} now: resume with the micro-batch that it was written with, or from an "
                "earlier checkpoint"
            )
        self._step, self._buffered_inputs = window["micro_steps"], window["batches"]

    @property
    def _window_steps(self) -> int:
        return cast(int, cast(Any, self.args).steps_per_generation) * self.num_iterations

    @property
    def steps_per_batch(self) -> int:
        """Optimiser steps from one generation to the next, rounded up."""
        return -(-self._window_steps // self.args.gradient_accumulation_steps)

    def save_whole(self, folder: Path) -> None:
        """Save the model, or its adapter, with whole weights (a collective call); transformers saves none where
        FSDP's checkpoints are of shards."""
        if self.accelerator.distributed_type != DistributedType.FSDP:
            return self.save_model(str(folder))
        weights = self.accelerator.get_state_dict(self.model)
        if self.args.should_save:
            self._save(str(folder), state_dict=weights)

    def load_weights(self, folder: Path) -> None:
        """Those of a checkpoint or of a saved model, into the model that has not been wrapped yet."""
        self._load_from_checkpoint(str(folder))

    def save_untrained(self, folder: Path) -> None:
        """Whatever a checkpoint needs beside the optimiser's state, as it is before training; weights where whole."""
        if not self.args.should_save:
            return
        model = cast(Any, self.accelerator.unwrap_model(self.model))
        align_special_tokens(model, cast(Any, self.processing_class))  # as `train` will do
        cast(Any, self.processing_class).save_pretrained(folder)
        if getattr(model, "generation_config", None) is not None:
            model.generation_config.save_pretrained(folder)
        if not self.weights_are_sharded:
            self._save(str(folder))


def check_kernels(device: torch.device) -> None:
    """Raise SettingError where the installed TRL cannot compute its loss: that of 1.15 needs Triton."""
    if device.type == "cpu" and getattr(trl_utils, "_ChunkedLogProbFunction", True) is None:
        raise SettingError(
            f"TRL {version('trl')} computes its loss on GPUs alone, and there is none: pip install 'trl>=1.16,<1.17'"
        )
