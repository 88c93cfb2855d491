"""The plugin in verl 0.9.1, on CPU: found by verl, configured by Hydra, and a step of credit through TransferQueue.

The actor's workers need GPUs; `Workers` stands in for them with the embedded model. Needs an environment with
`cepo[verl]`; left out elsewhere.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

pytest.importorskip("verl", reason="verl is not installed (extra cepo[verl], an environment of its own)")

import ray
import transfer_queue as tq
from hydra import compose, initialize_config_module
from transfer_queue import KVBatchMeta
from transformers import Qwen3VLForConditionalGeneration
from verl.trainer.ppo.v1 import get_trainer_cls
from verl.utils.config import validate_config
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from cepo.credit.groups import row_references
from cepo.credit.prompts import TeacherPrompts
from cepo.credit.references import column_source, register_source
from cepo.credit.rules import Credit, Inputs, Rule, credit_from, register
from cepo.credit.step import (
    Asking,
    ScoreRequest,
    StepCredit,
    assign_credit,
    credited_rows,
    logps_by_prompt,
    plan_scoring,
)
from cepo.data.rows import problem_row
from cepo.geometry import generate
from cepo.integrations.verl import CEPOPPOTrainer
from cepo.integrations.verl_rows import Row, credit_row, graded_groups, read_grading, read_settings
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor
from cepo.scoring import ScoreRow, score

# uid, what is said, padding: groups interleave, `c` is all right, and verl has filled the batch with one row.
SAID = [("a", "7", False), ("b", "7", False), ("a", "8 or 9", False), ("c", "7", False), ("b", "3", False),
        ("c", "7", False), ("pad0", "", True), ("a", "9", False)]  # fmt: skip
TEMPERATURE = 0.7
SOLUTION = "5 + 2 = 7, so \\boxed{7}"
SKILL = "subtract both"


def config(*words: str) -> Any:
    overrides = [
        "trainer.v1.trainer_mode=cepo",
        "algorithm.adv_estimator=grpo",
        "+algorithm.cepo.credit_decay_steps=50",
        f"actor_rollout_ref.rollout.temperature={TEMPERATURE}",
        "actor_rollout_ref.rollout.n=3",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=2",
        *words,
    ]
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=overrides)


class Workers:
    """The actor's workers: log-probs of every row that the meta names, written where the workers write them."""

    def __init__(self, model: Any) -> None:
        self.model, self.scored = model, 0
        self._dispatch_info = {"actor": [0, 1, 2]}

    @torch.no_grad()
    def compute_log_prob(self, meta: KVBatchMeta) -> KVBatchMeta:
        assert len(meta) % (3 * 2) == 0, "ranks times rows of a forward"
        data = tq.kv_batch_get(keys=meta.keys, partition_id=meta.partition_id)
        logps = []
        for ids, positions in zip(data["input_ids"].unbind(), data["position_ids"].unbind(), strict=True):
            assert positions.tolist() == list(range(len(ids)))
            logits = self.model(input_ids=ids[None]).logits[0].float() / meta.extra_info["temperature"]
            after = torch.roll(ids, -1)
            logps.append(logits.log_softmax(-1).gather(-1, after[:, None])[:, 0])
        self.scored += len(logps)
        fields = list_of_dict_to_tensordict([{"log_probs": logp} for logp in logps])
        return tq.kv_batch_put(keys=meta.keys, partition_id=meta.partition_id, fields=fields)


@pytest.fixture(scope="module")
def queue() -> Iterator[None]:
    ray.init(num_cpus=8, include_dashboard=False)  # fewer, and TransferQueue waits for ever
    settings = config().transfer_queue
    settings.enable = True
    settings.backend.SimpleStorage.num_data_storage_units = 2
    tq.init(settings)
    yield
    tq.close()
    ray.shutdown()


def trainer(model: Any, processor: Any, *words: str) -> CEPOPPOTrainer:
    """The trainer as it is when a batch comes, without the workers and servers that its constructor starts."""
    made = object.__new__(CEPOPPOTrainer)
    made.config = config(*words)
    made.rule, made.credit = read_settings(made.config.algorithm, "vanilla")
    made.grading = read_grading(made.config.algorithm)
    made.tokenizer, made.processor = processor.tokenizer, None
    made.tokenizer.chat_template = processor.chat_template
    made.actor_rollout_wg, made.global_steps = Workers(model), 2
    return made


def put(tokenizer: Any) -> tuple[KVBatchMeta, list[dict[str, Any]]]:
    rows, keys, tags, seen = [], [], [], {}
    for uid, said, padding in SAID:
        question = {"role": "user", "content": [{"type": "text", "text": f"What is the angle {uid[0]}?"}]}
        text = tokenizer.apply_chat_template([question], add_generation_prompt=True, tokenize=False)
        prompts = torch.tensor(tokenizer(text)["input_ids"])
        responses = torch.tensor(tokenizer(f"so \\boxed{{{said}}}<|im_end|>")["input_ids"])
        mask = torch.ones_like(responses) * (not padding)
        scores = torch.zeros(len(responses))
        scores[-1] = float(said == "7")
        rows.append({"uid": uid, "prompts": prompts, "responses": responses, "response_mask": mask, "loss_mask": mask,
                     "rm_scores": scores, "raw_prompt": [question], "multi_modal_inputs": {},
                     "input_ids": torch.cat([prompts, responses]), "old_log_probs": torch.zeros(len(responses)),
                     "reward_model": {"ground_truth": "7", "style": "rule"},
                     "extra_info": {"index": len(rows), "solution": SOLUTION, "skill": SKILL}})  # fmt: skip
        seen[uid] = seen.get(uid, -1) + 1
        keys.append(f"{uid}_{seen[uid]}_0")
        tags.append({"is_padding": padding, "seq_len": len(prompts) + len(responses)})
    tq.kv_batch_put(keys=keys, partition_id="train", fields=list_of_dict_to_tensordict(rows), tags=tags)
    return KVBatchMeta(keys=keys, tags=tags, partition_id="train"), rows


def test_verl_finds_the_plugin_by_itself() -> None:
    """In a process that imports verl alone, as its driver and workers do."""
    code = "import verl; from verl.trainer.ppo.v1 import get_trainer_cls; print(get_trainer_cls('cepo').__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.stdout.strip().endswith("cepo.integrations.verl"), done.stderr[-2000:]


def test_hydra_composes_and_verl_validates() -> None:
    composed = config("+algorithm.cepo.method=rlsd", "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1")
    validate_config(config=composed, use_reference_policy=False, use_critic=False)
    assert read_settings(composed.algorithm, "vanilla")[0].name == "rlsd"
    assert get_trainer_cls("cepo") is CEPOPPOTrainer
    made = object.__new__(CEPOPPOTrainer)
    made.trainer_mode = "cepo"
    assert made.trainer_mode == "sync"


# GRPO's own, by hand.
BASE = {0: 1.1547, 2: -0.5774, 7: -0.5774, 1: 0.7071, 4: -0.7071, 3: 0.0, 5: 0.0, 6: 0.0}


def hinted(inputs: Inputs) -> Credit:
    return credit_from(inputs, inputs.logp("plus") - inputs.logp("hint"))


def by_verdict(inputs: Inputs) -> Credit:
    """Reads no prompt: nothing is sent to the workers."""
    evidence_BT = torch.arange(inputs.mask_BT.shape[1]) * 0.01 * inputs.verdict_B[:, None] * inputs.mask_BT
    return credit_from(inputs, evidence_BT + 0.1 * inputs.pass_rate_B[:, None] * inputs.mask_BT)


def expected_credit(made: CEPOPPOTrainer, model: Any, rows: list[dict[str, Any]]) -> StepCredit:
    """The step as cepo's own scoring makes it, from rows written by hand."""
    told: dict[str, Any] = {"solution": SOLUTION, "columns": {"skill": SKILL}}
    real = {
        index: Row(uid, "7", f"so \\boxed{{{said}}}", float(said == "7"), BASE[index], rows[index]["raw_prompt"],
                   rows[index]["prompts"].tolist(), rows[index]["responses"].tolist(), **told)
        for index, (uid, said, padding) in enumerate(SAID) if not padding
    }  # fmt: skip
    groups = graded_groups(real)
    references = row_references(groups, made.rule.references, made.credit.reference_policy(0), 2)
    given = [credit_row(index, row, groups.group_of(index)) for index, row in real.items()]
    chosen = credited_rows(made.rule, given, groups, references)
    assert {row.index for row in chosen} == {0, 1, 2, 4, 7}
    prompts = made.credit.teacher_prompts(made.tokenizer, made._render)
    requests = plan_scoring(chosen, references, made.rule, Asking(prompts))
    width = max(len(row["responses"]) for row in rows)
    scored = score(model, [r.sequence for r in requests], width=width, temperature=TEMPERATURE)
    masks = [torch.nn.functional.pad(row["response_mask"], (0, width - len(row["response_mask"]))) for row in rows]
    advantage_B = torch.tensor([BASE[index] for index in range(len(rows))])
    asked = StepCredit(2, made.rule, made.credit.knobs(2), groups, references)
    logps = logps_by_prompt(requests, scored, references)
    return assign_credit(asked, chosen, logps, advantage_B, torch.stack(masks).bool())


@pytest.fixture(scope="module")
def model() -> Any:
    return Qwen3VLForConditionalGeneration.from_pretrained(EMBEDDED, dtype=torch.float32).eval()


STEPS = {
    "grpo": ["+algorithm.cepo.method=grpo"],
    "rlsd": ["+algorithm.cepo.method=rlsd"],
    "cepo": ["+algorithm.cepo.method=cepo"],
    "whole solutions": ["+algorithm.cepo.reference_form=rationale"],
    "a third prompt": ["+algorithm.cepo.method=hinted"],
    "no prompt": ["+algorithm.cepo.method=by_verdict"],
}


@pytest.mark.usefixtures("own_registrations")
@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_credit(name: str, queue: None, model: Any) -> None:
    register_source(column_source("hint", "skill", "rationale"))
    register(Rule("hinted", "a test", ("plus", "hint"), hinted))
    register(Rule("by_verdict", "a test", (), by_verdict, frozenset({"verdict", "pass_rate"})))
    made = trainer(model, load_processor(str(EMBEDDED)), *STEPS[name])
    batch, rows = put(made.tokenizer)
    metrics: dict[str, Any] = {}
    after = made._compute_advantage(batch, metrics)
    assert after.keys == batch.keys
    data = tq.kv_batch_get(keys=batch.keys, partition_id="train", select_fields=["advantages"])
    got = list(data["advantages"].unbind())
    assert not tq.kv_list(partition_id="cepo-teachers").get("cepo-teachers")

    expected = [BASE[index] * rows[index]["response_mask"].float() for index in range(len(rows))]
    if name == "grpo":
        assert made.actor_rollout_wg.scored == 0
    else:
        step = expected_credit(made, model, rows)
        assert step.credit is not None
        for place, index in enumerate(step.rows):
            expected[index] = step.credit.advantage_BT[place, : len(expected[index])]
        assert len({round(value, 4) for value in got[0].tolist()}) > 1, "credit differs from token to token"
        assert made.actor_rollout_wg.scored % 6 == 0
        assert (made.actor_rollout_wg.scored == 0) == (name == "no prompt")
        assert metrics["cepo/rows_scored"] == pytest.approx(5 / 7)
    for index, (a, b) in enumerate(zip(got, expected, strict=True)):
        torch.testing.assert_close(
            a, b.to(a.dtype), atol=2e-4, rtol=0, msg=lambda text, index=index: f"row {index}: {text}"
        )


def test_what_the_workers_are_sent(queue: None, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole solutions have their own words, and responses are the student's to the token."""
    made = trainer(model, load_processor(str(EMBEDDED)), *STEPS["whole solutions"])
    batch, rows = put(made.tokenizer)
    sent: list[tuple[str, list[int]]] = []
    real = made._teacher_row

    def keeping(request: ScoreRequest, *arguments: Any) -> dict[str, Any]:
        made_row = real(request, *arguments)
        assert made_row["responses"].tolist() == rows[request.row]["responses"].tolist()
        sent.append((request.prompt, made_row["prompts"].tolist()))
        return made_row

    monkeypatch.setattr(made, "_teacher_row", keeping)
    made._compute_advantage(batch, {})
    texts = {prompt: made.tokenizer.decode(ids) for prompt, ids in sent}
    assert texts.keys() == {"plus", "minus"}
    assert f"Here is a solution to this problem:\n{SOLUTION}\n" in texts["plus"]
    assert "Here is a solution to this problem:\nso \\boxed{" in texts["minus"]
    for text in texts.values():
        assert "The answer to this problem" not in text


def test_positions_of_a_row_with_an_image() -> None:
    """M-RoPE of the longer prompt, as the model computes it, from the inputs that verl kept of the student's."""
    processor = load_processor(str(EMBEDDED))
    model = Qwen3VLForConditionalGeneration.from_pretrained(EMBEDDED, dtype=torch.float32)
    made = trainer(model, processor)
    processor.get_rope_index = model.model.get_rope_index  # verl binds it so
    made.processor = processor
    problem = problem_row(generate("train", 1, seed=5)[0])
    question = {
        "role": "user",
        "content": [{"type": "image"}, {"type": "text", "text": problem["prompt"][0]["content"]}],
    }
    text = processor.apply_chat_template([question], add_generation_prompt=True, tokenize=False)
    inputs = dict(processor(text=[text], images=problem["images"], return_tensors="pt"))
    student = inputs.pop("input_ids")[0].tolist()
    kept = {name: inputs[name] for name in ("pixel_values", "image_grid_thw")}
    told = TeacherPrompts(made.tokenizer, made._render).prompt_ids([question], student, "42 degrees")
    assert len(told) > len(student)
    request = ScoreRequest(0, "plus", 0, ScoreRow(told, [200, 201, 202]))
    row = made._teacher_row(request, torch.ones(3, dtype=torch.int64), kept)
    ids = row["input_ids"][None]
    assert int((ids == processor.image_token_id).sum()) == student.count(processor.image_token_id) > 0
    expected, _ = model.model.get_rope_index(
        ids, image_grid_thw=kept["image_grid_thw"], mm_token_type_ids=(ids == processor.image_token_id).int()
    )
    assert torch.equal(row["position_ids"][1:], expected[:, 0])
    assert row["position_ids"][0].tolist() == list(range(ids.shape[1]))
    assert not torch.equal(row["position_ids"][1], row["position_ids"][2]), "rows and columns of the image differ"
    assert set(row["multi_modal_inputs"]) == {"pixel_values", "image_grid_thw"}
