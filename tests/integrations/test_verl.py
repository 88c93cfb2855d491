"""The plugin in verl 0.9.1, on CPU: found by verl, configured by Hydra, and a step of credit through TransferQueue.

The actor's workers need GPUs; `Workers` stands in for them with the embedded model. Needs an environment with
`cepo[verl]`; left out elsewhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from inspect import signature
from pathlib import Path
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
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.config import validate_config
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from cepo.cli import main
from cepo.credit.groups import row_references
from cepo.credit.prompts import TeacherPrompts
from cepo.credit.references import column_source, register_source
from cepo.credit.rules import METHODS, Credit, Inputs, Rule, credit_from, register
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
from cepo.integrations.verl_rows import Row, credit_row, graded_groups, read_grading, read_settings, read_tracing
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor
from cepo.reports.run_data import load_run
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
    made.grading, made.tracing = read_grading(made.config.algorithm), read_tracing(made.config.algorithm)
    made.tokenizer, made.processor = processor.tokenizer, None
    made.tokenizer.chat_template = processor.chat_template
    made.actor_rollout_wg, made.global_steps, made.total_training_steps = Workers(model), 2, 40
    made._get_n_gpus_for_throughput = lambda: 1
    made.use_critic, made._rollout_moe_lb_metrics_accumulator = False, None
    made.records = made._run_records()
    return made


def put(tokenizer: Any, gold: bool = True) -> tuple[KVBatchMeta, list[dict[str, Any]]]:
    rows, keys, tags, seen = [], [], [], {}
    for uid, said, padding in SAID:
        question = {"role": "user", "content": [{"type": "text", "text": f"What is the angle {uid[0]}?"}]}
        text = tokenizer.apply_chat_template([question], add_generation_prompt=True, tokenize=False)
        prompts = torch.tensor(tokenizer(text)["input_ids"])
        responses = torch.tensor(tokenizer(f"so \\boxed{{{said}}}<|im_end|>")["input_ids"])
        mask = torch.ones_like(responses) * (not padding)
        scores = torch.zeros(len(responses))
        scores[-1] = float(said == "7")
        input_ids = torch.cat([prompts, responses])
        rows.append({"uid": uid, "prompts": prompts, "responses": responses, "response_mask": mask, "loss_mask": mask,
                     "rm_scores": scores, "raw_prompt": [question], "multi_modal_inputs": {},
                     "input_ids": input_ids, "old_log_probs": torch.zeros(len(responses)),
                     "entropy": torch.arange(len(responses)) * 0.1, "num_turns": 2,
                     "reward_model": {"ground_truth": "7", "style": "rule"} if gold else {},
                     "extra_info": {"index": len(rows), "solution": SOLUTION, "skill": SKILL}})  # fmt: skip
        seen[uid] = seen.get(uid, -1) + 1
        keys.append(f"{uid}_{seen[uid]}_0")
        tags.append({"is_padding": padding, "seq_len": len(input_ids), "min_global_steps": 1, "max_global_steps": 1})
    tq.kv_batch_put(keys=keys, partition_id="train", fields=list_of_dict_to_tensordict(rows), tags=tags)
    return KVBatchMeta(keys=keys, tags=tags, partition_id="train"), rows


def test_verl_finds_the_plugin_by_itself(tmp_path: Path) -> None:
    """In a process that imports verl alone, as its driver and workers do. The entry point is this source's own."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (about := tmp_path / "cepo-0.dist-info").mkdir()
    about.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: cepo\nVersion: 0\n")
    (entry,) = project["entry-points"]["verl.plugins"].items()
    about.joinpath("entry_points.txt").write_text(f"[verl.plugins]\n{entry[0]} = {entry[1]}\n")
    where = os.pathsep.join([str(tmp_path), *sys.path])
    code = "import verl; from verl.trainer.ppo.v1 import get_trainer_cls; print(get_trainer_cls('cepo').__module__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=200, env={**os.environ, "PYTHONPATH": where},
    )  # fmt: skip
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
    if made.rule.name in ("rlsd", "cepo", "cpo"):
        assert {row.index for row in chosen} == {0, 1, 2, 4, 7} | ({3, 5} if made.rule.acts_where_equal else set())
    prompts = made.credit.teacher_prompts(made.tokenizer, made._render)
    requests = plan_scoring(chosen, references, made.rule, Asking(prompts))
    width = max(len(row["responses"]) for row in rows)
    scored = score(model, [r.sequence for r in requests], width=width, temperature=TEMPERATURE)
    masks = [torch.nn.functional.pad(row["response_mask"], (0, width - len(row["response_mask"]))) for row in rows]
    advantage_B = torch.tensor([BASE[index] for index in range(len(rows))])
    asked = StepCredit(2, made.rule, made.credit.knobs(2), groups, references)
    logps = logps_by_prompt(requests, scored, references)
    entropy = {
        row.index: torch.nn.functional.pad(torch.arange(len(row.completion_ids)) * 0.1, (0, width))[:width]
        for row in chosen
        if "entropy" in made.rule.reads
    }
    return assign_credit(asked, chosen, logps, advantage_B, torch.stack(masks).bool(), entropy)


@pytest.fixture(scope="module")
def model() -> Any:
    return Qwen3VLForConditionalGeneration.from_pretrained(EMBEDDED, dtype=torch.float32).eval()


def by_entropy(inputs: Inputs) -> Credit:
    return credit_from(inputs, inputs.entropy_BT * inputs.mask_BT)


RULE_FILE = """
from cepo import Rule, credit_from, register
register(Rule("from_a_file", "a test", ("plus", "student"),
              lambda inputs: credit_from(inputs, 0.5 * (inputs.logp("plus") - inputs.logp("student")))))
"""
RULES = [
    name for name, method in METHODS.items() if isinstance(method, Rule) and "scores" not in method.reads
]  # those that read scores are refused: test_verl_rows
STEPS = {
    **{name: [f"+algorithm.cepo.method={name}"] for name in RULES},
    "prob_mask": ["+algorithm.cepo.method=prob_mask", "+algorithm.cepo.rule_options.sure=0.01"],
    "whole solutions": ["+algorithm.cepo.reference_form=rationale"],
    "a third prompt": ["+algorithm.cepo.method=hinted"],
    "no prompt": ["+algorithm.cepo.method=by_verdict"],
    "entropy": ["+algorithm.cepo.method=by_entropy"],
    "a rule of one's own": ["+algorithm.cepo.method=from_a_file", "+algorithm.cepo.method_files=[{rule_file}]"],
    "a rule's own settings": ["+algorithm.cepo.method=rlcsd", "+algorithm.cepo.rule_options.tau=0.5"],
}
ASKS_NOTHING = ("grpo", "scaled", "no prompt", "entropy")


@pytest.mark.usefixtures("own_registrations")
@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_credit(name: str, queue: None, model: Any, tmp_path: Path) -> None:
    register_source(column_source("hint", "skill", "rationale"))
    register(Rule("hinted", "a test", ("plus", "hint"), hinted))
    register(Rule("by_verdict", "a test", (), by_verdict, frozenset({"verdict", "pass_rate"})))
    register(Rule("by_entropy", "a test", (), by_entropy, frozenset({"entropy"})))
    (tmp_path / "mine.py").write_text(RULE_FILE)
    words = [word.format(rule_file=tmp_path / "mine.py") for word in STEPS[name]]
    made = trainer(model, load_processor(str(EMBEDDED)), "+algorithm.cepo.trace_groups=0", *words)
    batch, rows = put(made.tokenizer)
    metrics: dict[str, Any] = {}
    after = made._compute_advantage(batch, metrics)
    assert after.keys == batch.keys
    data = tq.kv_batch_get(keys=batch.keys, partition_id="train", select_fields=["advantages"])
    got = list(data["advantages"].unbind())
    assert not tq.kv_list(partition_id="cepo-teachers").get("cepo-teachers")

    expected = [BASE[index] * rows[index]["response_mask"].float() for index in range(len(rows))]
    assert (made.actor_rollout_wg.scored == 0) == (name in ASKS_NOTHING)
    if name != "grpo":
        step = expected_credit(made, model, rows)
        assert step.credit is not None
        for place, index in enumerate(step.rows):
            expected[index] = step.credit.advantage_BT[place, : len(expected[index])]
        if name != "scaled":
            assert any(len({round(value, 4) for value in row.tolist()}) > 1 for row in got), "credit differs by token"
        assert made.actor_rollout_wg.scored % 6 == 0
        assert metrics["credit/rows_scored"] == pytest.approx(len(step.rows) / 7)
    for index, (a, b) in enumerate(zip(got, expected, strict=True)):
        torch.testing.assert_close(
            a, b.to(a.dtype), atol=2e-4, rtol=2e-4, msg=lambda text, index=index: f"row {index}: {text}"
        )


def steps_of(made: CEPOPPOTrainer, numbers: Sequence[int], gold: bool = True) -> list[dict[str, Any]]:
    """Steps as verl's loop makes them, from the advantages to what is logged; the same batch at each."""
    logged = []
    for number in numbers:
        made.global_steps = number
        batch, _ = put(made.tokenizer, gold)
        metrics: dict[str, Any] = {"actor/entropy": 1.25}
        batch = made._compute_advantage(batch, metrics)
        made._compute_metrics(batch, metrics, {"step": 2.0, "adv": 0.5}, global_steps=number, epoch=0)
        logged.append(metrics)
        tq.kv_clear(keys=batch.keys, partition_id="train")
    made.records.flush()
    return logged


def test_a_run_is_recorded_and_shown(
    queue: None, model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = trainer(model, load_processor(str(EMBEDDED)), f"trainer.default_local_dir={tmp_path}")
    logged = steps_of(made, [1, 2, 3])
    folder = tmp_path / "cepo"
    run = load_run(folder)
    assert (run.state, run.step, run.total, run.settings["method"]) == ("training", 3, 40, "cepo")
    assert [value for _, value in run.metrics["reward"]] == [pytest.approx(4 / 7)] * 3, "without verl's padding row"
    assert [value for _, value in run.metrics["credit/lambda"]] == [0.5, 0.49, 0.48]
    assert {"completions/mean_length", "entropy", "step_time", "phase/credit_s"} <= run.metrics.keys()
    for name in ("credit/evidence_abs_mean_pos", "credit/rows_scored", "credit/groups_undecided", "credit/clip_low"):
        assert run.metrics[name][-1][1] == pytest.approx(logged[-1][name])
    batch, _ = put(made.tokenizer)
    made._compute_advantage(batch, {})
    data = tq.kv_batch_get(keys=batch.keys, partition_id="train", select_fields=["advantages", "responses"])
    last = [record for record in run.rollouts if record.step == 3]
    assert {record.row for record in last} == {0, 1, 2, 4, 7}, "the two decided groups"
    for record in last:
        assert record.token_ids == data["responses"][record.row].tolist()
        trained = data["advantages"][record.row].tolist()
        assert record.advantage == pytest.approx(trained, abs=1e-5)
        assert record.base_advantage == pytest.approx(BASE[record.row], abs=1e-4)
        assert set(record.logps) >= {"student", "plus"}
    assert main(["report", str(folder)]) == 0
    assert main(["show", str(folder), "--row", "0"]) == 0
    assert "gold 7" in capsys.readouterr().out


def test_a_resumed_run_keeps_its_records(queue: None, model: Any, tmp_path: Path) -> None:
    words = [f"+algorithm.cepo.trace_dir={tmp_path}", "+algorithm.cepo.trace_groups=1"]
    steps_of(trainer(model, load_processor(str(EMBEDDED)), *words), [1, 2])
    steps_of(trainer(model, load_processor(str(EMBEDDED)), *words), [2, 3])  # from the checkpoint of step 1
    run = load_run(tmp_path)
    assert sorted({record.step for record in run.rollouts}) == [1, 2, 3]
    assert len({(record.step, record.row) for record in run.rollouts}) == len(run.rollouts)
    assert [step for step, _ in run.metrics["reward"]] == [1, 2, 3]


def test_grpo_is_recorded_too_and_needs_no_gold_answer(queue: None, model: Any, tmp_path: Path) -> None:
    words = [f"+algorithm.cepo.trace_dir={tmp_path}", "+algorithm.cepo.method=grpo"]
    (logged,) = steps_of(trainer(model, load_processor(str(EMBEDDED)), *words), [1], gold=False)
    assert logged["credit/lambda"] == 0.0
    records = load_run(tmp_path).rollouts
    assert len({record.group for record in records}) == 2
    for record in records:
        assert (record.gold, record.correct, record.evidence, record.logps) == (None, None, None, {})
        assert record.advantage == record.base_advantage


def test_credit_needs_a_gold_answer(queue: None, model: Any) -> None:
    made = trainer(model, load_processor(str(EMBEDDED)), "+algorithm.cepo.trace_groups=0")
    with pytest.raises(ValueError, match="has no ground_truth, which r\\+ is read from"):
        made._compute_advantage(put(made.tokenizer, gold=False)[0], {})


def test_records_are_whole_when_verl_counts_on_them(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a checkpoint and at the end; the hooks are verl's own, by name and arguments."""
    made = trainer(model, load_processor(str(EMBEDDED)), f"+algorithm.cepo.trace_dir={tmp_path}")
    done: list[str] = []
    for name in ("on_init_end", "fit", "_save_checkpoint"):
        arguments = list(signature(getattr(PPOTrainerSync, name)).parameters)
        assert arguments == list(signature(getattr(CEPOPPOTrainer, name)).parameters)
        monkeypatch.setattr(PPOTrainerSync, name, lambda *_, name=name: done.append(name))
    made.on_init_end()
    monkeypatch.setattr(made.records.recorder, "flush", lambda: done.append("flushed"))
    made._save_checkpoint()
    made.fit(None)
    assert done == ["on_init_end", "flushed", "_save_checkpoint", "fit", "flushed"]
    assert not list(tmp_path.iterdir()), "no step was made"
    made.records.log(4, {"timing_s/step": 3.0})
    made.fit(None)
    assert load_run(tmp_path).state == "finished"


def test_what_the_workers_are_sent(queue: None, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole solutions have their own words, and responses are the student's to the token."""
    made = trainer(model, load_processor(str(EMBEDDED)), "+algorithm.cepo.trace_groups=0", *STEPS["whole solutions"])
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


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # transformers, of a tensor of ids
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
