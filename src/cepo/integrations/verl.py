# pyright: reportMissingImports=false
"""Credit rules in verl 0.9.1, as a plugin: `trainer.v1.trainer_mode=cepo`, settings under `+algorithm.cepo.*`.

verl imports this module in the driver and in every worker (entry point `verl.plugins`). The trainer is verl's
synchronous one; after GRPO's advantages the actor's workers score the teachers' rows `[prompt with a reference |
same response]`, and cepo's own pure functions make the advantage of every token. References, prompts and credit are
those of `CEPOTrainer`; teachers have the live weights. The credit of a few groups of each step is recorded, and
`cepo report` reads the run's folder. There is no null control.

Run on CPU: loading, configuration, and a whole step of credit through TransferQueue with a stand-in for the workers
(tests/integrations). Not run: the workers themselves, which need GPUs, and images on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import transfer_queue as tq
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from transfer_queue import KVBatchMeta
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.tensordict_utils import get_tensordict, list_of_dict_to_tensordict
from verl.workers.utils.padding import response_from_nested

from cepo.answers import grader_timeouts
from cepo.credit.groups import row_references
from cepo.credit.metrics import credit_metrics, step_sums
from cepo.credit.records import RecordMaker
from cepo.credit.references import columns_of
from cepo.credit.rules import Knobs
from cepo.credit.step import (
    Asking,
    ScoreRequest,
    StepCredit,
    assign_credit,
    credited_rows,
    logps_by_prompt,
    plan_scoring,
)
from cepo.errors import DataError
from cepo.integrations.verl_records import RunRecords, run_settings
from cepo.integrations.verl_rows import Given, Row, credit_row, graded_groups, read_grading, read_settings, read_tracing
from cepo.reports.recorder import Recorded

__all__ = ["CEPOPPOTrainer"]

PARTITION = "cepo-teachers"
"""Of TransferQueue; apart from `train`, which the replay buffer watches."""

_READ = ["uid", "prompts", "responses", "response_mask", "advantages", "rm_scores", "raw_prompt", "reward_model"]


_LISTS = ("uid", "raw_prompt", "reward_model", "extra_info")


@register_trainer("cepo")
class CEPOPPOTrainer(PPOTrainerSync):
    """verl's synchronous trainer with the advantage of every token; the reward model's `ground_truth` is r+.

    Raises:
        ValueError: what `read_settings` refuses, before anything is started.
    """

    records: RunRecords

    def __init__(self, config: DictConfig) -> None:
        algorithm = OmegaConf.to_container(config.algorithm, resolve=True)
        loss = config.actor_rollout_ref.actor.policy_loss.loss_mode
        self.rule, self.credit = read_settings(algorithm, loss)  # pyright: ignore[reportArgumentType]
        self.grading = read_grading(algorithm)  # pyright: ignore[reportArgumentType]
        self.tracing = read_tracing(algorithm)  # pyright: ignore[reportArgumentType]
        super().__init__(config)

    @property
    def trainer_mode(self) -> str:
        """verl takes every mode of another name for an asynchronous one, in six places."""
        return "sync"

    @trainer_mode.setter
    def trainer_mode(self, value: str) -> None:
        """The base class writes the configured name here."""

    # --- verl's hooks -----------------------------------------------------------------------------------------

    def on_init_end(self) -> None:
        super().on_init_end()
        self.records = self._run_records()

    def fit(self, agent_loop_manager: Any) -> None:
        """verl's own; whatever ends it, the records of its steps are on disk."""
        try:
            super().fit(agent_loop_manager)
        except BaseException:
            self.records.flush()
            raise
        self.records.finish()

    def _save_checkpoint(self) -> None:
        self.records.flush()  # a resumed run counts the checkpoint's steps as recorded
        super()._save_checkpoint()

    def _compute_metrics(self, batch: KVBatchMeta, metrics: dict[str, Any], *others: Any, **named: Any) -> None:
        super()._compute_metrics(batch, metrics, *others, **named)
        self.records.log(self.global_steps, metrics)

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        """GRPO's advantages, then cepo's where a row has credit. `batch` has the same keys afterwards."""
        after = super()._compute_advantage(batch, metrics)
        gives_credit = self.rule.assign is not None
        knobs = self.credit.knobs(self.global_steps) if gives_credit else Knobs(0.0, 0.0)
        metrics["credit/lambda"] = knobs.strength
        if not knobs.strength:
            if self.records.is_open:
                self.records.write(self.global_steps, lambda: self._without_credit(batch, knobs))
            return after
        data = self._read(batch)
        given = self._given(batch, data)
        unanswered = grader_timeouts()
        step = self._asked(given.rows, knobs)
        metrics["reward/grader_timeouts"] = grader_timeouts() - unanswered
        traced = self.records.choose(step.groups, step.step)
        step = self._credited(step, batch, given, traced)
        metrics.update(credit_metrics(step_sums(step, given.advantage_B, given.mask_BT)))
        if traced:
            self.records.write(step.step, lambda: self.records.of_rows(step, given.rows, given.mask_BT, traced))
        if step.credit is None:
            return after
        advantages = list(data["advantages"].unbind())
        for place, index in enumerate(step.rows):
            old = advantages[index]
            advantages[index] = step.credit.advantage_BT[place, : len(old)].to(old.dtype)
        fields = get_tensordict({"advantages": torch.nested.as_nested_tensor(advantages, layout=torch.jagged)})
        tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=fields)
        return after

    # --- its parts --------------------------------------------------------------------------------------------

    def _run_records(self) -> RunRecords:
        config: Any = OmegaConf.to_container(self.config, resolve=True)
        settings = run_settings(config, self.rule.name, self.credit, self.grading, self.total_training_steps)
        make = RecordMaker(self.tokenizer, getattr(self.processor, "image_token_id", None))
        folder = self.tracing.folder(self.config.trainer.default_local_dir)
        return RunRecords(folder, self.tracing, self._seed, make, settings)

    @property
    def _seed(self) -> int:
        return int(self.config.data.get("seed") or 0)

    def _without_credit(self, batch: KVBatchMeta, knobs: Knobs) -> Recorded:
        """Records of a step in which every token keeps its row's advantage."""
        given = self._given(batch, self._read(batch))
        step = self._asked(given.rows, knobs)
        traced = self.records.choose(step.groups, step.step)
        return self.records.of_rows(step, given.rows, given.mask_BT, traced)

    def _asked(self, rows: Mapping[int, Row], knobs: Knobs) -> StepCredit:
        """The step before its credit: groups graded, references chosen."""
        groups, policy = graded_groups(rows, self.grading), self.credit.reference_policy(self._seed)
        references = row_references(groups, self.rule.references, policy, self.global_steps)
        control = self.credit.control(self._seed)
        return StepCredit(self.global_steps, self.rule, knobs, groups, references, control=control)

    def _read(self, batch: KVBatchMeta) -> Any:
        return tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=self._fields())

    def _fields(self) -> list[str]:
        """What is read of the batch; `extra_info` only where a prompt may tell something of it."""
        whole = self.credit.reference_form == "rationale" or columns_of(self.rule.references)
        entropy = ["entropy"] if "entropy" in self.rule.reads else []
        return [*_READ, *entropy, *(["extra_info"] if whole else [])]

    def _given(self, batch: KVBatchMeta, data: Any) -> Given:
        rows, masks = self._rows(batch, data), data["response_mask"].unbind()
        width = max(map(len, masks))
        return Given(
            rows=rows,
            advantage_B=torch.tensor([rows[row].advantage if row in rows else 0.0 for row in range(len(masks))]),
            mask_BT=torch.stack([_padded(mask, width) for mask in masks]).bool(),
            entropies=data["entropy"].unbind() if "entropy" in self.rule.reads else (),
        )

    def _rows(self, batch: KVBatchMeta, data: Any) -> dict[int, Row]:
        """Batch index -> row, without verl's padding rows."""
        rows = {}
        columns = {name: list(data[name]) for name in self._fields() if name in _LISTS}
        tensors = {name: data[name].unbind() for name in ("prompts", "responses", "advantages", "rm_scores")}
        masks = data["response_mask"].unbind()
        for index, (key, tag) in enumerate(zip(batch.keys, batch.tags, strict=True)):
            if tag.get("is_padding", False):
                continue
            if key.rpartition("_")[2] != "0":
                raise DataError(f"row {key}: an agent loop with several outputs a session has no credit per token")
            reward_model = columns["reward_model"][index]
            gold = reward_model.get("ground_truth") if isinstance(reward_model, dict) else None
            if gold is None and self.rule.assign is not None:
                raise DataError(f"row {key}: reward_model={reward_model!r} has no ground_truth, which r+ is read from")
            response = tensors["responses"][index].tolist()
            trained = tensors["advantages"][index][masks[index].bool()]
            rows[index] = Row(
                uid=str(columns["uid"][index]),
                gold=None if gold is None else str(gold),
                text=self.tokenizer.decode(response, skip_special_tokens=True),
                reward=tensors["rm_scores"][index].sum().item(),
                advantage=trained[0].item() if len(trained) else 0.0,
                prompt=list(columns["raw_prompt"][index]),
                prompt_ids=tensors["prompts"][index].tolist(),
                response_ids=response,
                **self._told(columns["extra_info"][index] if "extra_info" in columns else None),
            )
        return rows

    def _told(self, extra: Any) -> dict[str, Any]:
        """What prompts read beside the answer: `solution` and registered columns, of the data's `extra_info`."""
        given = extra if isinstance(extra, dict) else {}
        columns = {name: str(given[name]) for name in columns_of(self.rule.references) if given.get(name) is not None}
        return {"solution": given.get("solution"), "columns": columns}

    def _credited(self, step: StepCredit, batch: KVBatchMeta, given: Given, traced: Sequence[int]) -> StepCredit:
        """The step with its credit, from the teachers' log-probs."""
        rows = [credit_row(index, row, step.groups.group_of(index)) for index, row in sorted(given.rows.items())]
        chosen = credited_rows(self.rule, rows, step.groups, step.references)
        asking = Asking(self.credit.teacher_prompts(self.tokenizer, self._render))
        requests = plan_scoring(chosen, step.references, self.rule, asking, with_student=traced)
        width = given.mask_BT.shape[1]
        logp_NT = torch.zeros(0, width)
        if requests:
            logp_NT = torch.stack([_padded(logp, width) for logp in self._score(batch, requests)])
        logps = logps_by_prompt(requests, logp_NT, step.references)
        entropy = {row.index: _padded(given.entropies[row.index], width) for row in chosen} if given.entropies else {}
        return assign_credit(step, chosen, logps, given.advantage_B, given.mask_BT, entropy)

    def _score(self, batch: KVBatchMeta, requests: Sequence[ScoreRequest]) -> list[Tensor]:
        """Log-probs (T,) of each request's response, from the actor's workers."""
        fields = ["response_mask", "multi_modal_inputs"]
        sources = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
        masks, images = sources["response_mask"].unbind(), list(sources["multi_modal_inputs"])
        rows, tags, keys = [], [], []
        for number in range(-(-len(requests) // (step := self._multiple())) * step):
            request = requests[min(number, len(requests) - 1)]  # the last one again fills the workers' batches
            rows.append(self._teacher_row(request, masks[request.row], images[request.row] or {}))
            size = len(rows[-1]["input_ids"])
            tags.append(batch.tags[request.row] | {"prompt_len": len(rows[-1]["prompts"]), "seq_len": size})
            keys.append(f"teacher{self.global_steps}_{number}_0")
        tq.kv_batch_put(keys=keys, partition_id=PARTITION, fields=list_of_dict_to_tensordict(rows), tags=tags)
        try:
            temperature = self.config.actor_rollout_ref.rollout.temperature
            extra = {"calculate_entropy": False, "compute_loss": False, "temperature": temperature}
            meta = KVBatchMeta(keys=keys, tags=tags, partition_id=PARTITION, extra_info=extra)
            self.actor_rollout_wg.compute_log_prob(meta)
            names = ["log_probs", "response_mask"]
            data = tq.kv_batch_get(keys=keys, partition_id=PARTITION, select_fields=names)
            logps = response_from_nested(data["log_probs"], data["response_mask"]).unbind()
        finally:
            tq.kv_clear(keys=keys, partition_id=PARTITION)
        return [logp.float().cpu() for logp in logps[: len(requests)]]

    def _teacher_row(self, request: ScoreRequest, mask: Tensor, images: dict[str, Any]) -> dict[str, Any]:
        """A row as verl's agent loop writes one: the student's images, positions (M-RoPE too) of the longer prompt."""
        prompts = torch.tensor(request.sequence.prompt_ids, dtype=torch.int64)
        responses = torch.tensor(request.sequence.completion_ids, dtype=torch.int64)
        input_ids = torch.cat([prompts, responses])
        # verl dropped the token types after it had used them; their presence makes it compute them anew.
        kinds = {"mm_token_type_ids": True} if "image_grid_thw" in images else {}
        ones = torch.ones_like(input_ids)[None]
        positions = AgentLoopWorker._compute_position_ids(self, input_ids[None], ones, {**images, **kinds})  # pyright: ignore[reportArgumentType]
        return {
            "prompts": prompts,
            "responses": responses,
            "response_mask": mask,
            "loss_mask": mask,
            "input_ids": input_ids,
            "position_ids": positions.squeeze(0),
            "multi_modal_inputs": images,
        }

    def _multiple(self) -> int:
        """What the number of scored rows must be a multiple of: ranks, times rows of a forward where that is fixed."""
        ranks = max(self.actor_rollout_wg._dispatch_info["actor"]) + 1  # known since the batch was balanced
        rollout = self.config.actor_rollout_ref.rollout
        fixed = not rollout.log_prob_use_dynamic_bsz
        return ranks * (rollout.log_prob_micro_batch_size_per_gpu or 1) if fixed else ranks

    def _render(self, prompt: Any) -> str:
        options = dict(self.config.data.get("apply_chat_template_kwargs") or {})
        host = self.tokenizer if self.processor is None else self.processor
        return host.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False, **options)


def _padded(row_T: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(row_T, (0, width - len(row_T)))
