"""Checkpoints are evaluated on the same problems, once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from cepo.evaluate import Generation, encode_prompts, generate_answers, load_generations, stops_of
from cepo.lab.compare import evaluation
from cepo.lab.compare.evaluation import base_tasks, protocol, run_tasks, tasks, write_tasks
from cepo.lab.compare.experiment import load_experiment
from cepo.lab.compare.plan import Plan, make_plan
from cepo.lab.compare.results import outcome, solutions_of
from tests.lab.compare.conftest import Write
from tests.runs.small import write_model
from tests.trainer.conftest import embedded


@pytest.fixture
def plan(write: Write, tmp_path: Path) -> Plan:
    return make_plan(load_experiment(write(evaluate={"limit": 6, "checkpoint_limit": 4})), tmp_path / "out")


def test_every_checkpoint_of_a_run(plan: Plan) -> None:
    run = plan.run("cepo", 0)
    between, last = tasks(plan, run)
    assert (between.step, between.checkpoint, between.count) == (1, str(run.folder / "checkpoint-1"), 4)
    assert (last.step, last.checkpoint, last.count) == (2, str(run.folder / "model"), 6)
    (base,) = base_tasks(plan)
    assert (base.step, base.checkpoint, base.count) == (0, None, 6)
    assert base.protocol == last.protocol == tasks(plan, plan.run("grpo", 1))[1].protocol


def test_another_protocol_is_another_folder(plan: Plan, write: Write) -> None:
    settings = protocol(plan, plan.run("cepo", 0))
    keys = {settings.key}
    for changed in (
        {"limit": 7},
        {"samples": 2},
        {"seed": 1},
        {"temperature": 0.5},
        {"max_new_tokens": 9},
        {"weights": "x"},
    ):
        keys.add(replace(settings, **changed).key)  # pyright: ignore[reportArgumentType]
    assert len(keys) == 7
    tune = {"learning_rate": [1], "seeds": [5], "limit": 3}
    other = make_plan(load_experiment(write(tune=tune)), plan.out)
    chosen = protocol(other, other.run("cepo", 0, "1"), tuning=True)
    assert (chosen.split, chosen.limit) == ("validation", 3)
    assert chosen.key.startswith("validation-")


def test_generations_are_made_once_and_a_bad_checkpoint_stops_nobody(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    (base,) = base_tasks(plan)
    lost = replace(base, run="lost", checkpoint="/nowhere", out=str(plan.out / "lost.jsonl"))
    first = replace(base, run="first", count=4, out=str(plan.out / "first.jsonl"))
    path = plan.out / "tasks.json"
    write_tasks([lost, base, first], path)
    assert run_tasks(path) == 1
    assert "/nowhere" in capsys.readouterr().out
    assert not lost.finished
    generations, fewer = load_generations(base.out), load_generations(first.out)
    assert [g.id for g in generations][:4] == [g.id for g in fewer]
    Path(base.out).write_text("kept")
    write_tasks([base], path)
    assert run_tasks(path) == 0
    assert Path(base.out).read_text() == "kept"

    solutions = solutions_of(base.protocol)
    found = outcome(generations, solutions, "geometry")
    assert solutions.texts.keys() == found.correct.keys()
    assert found.accuracy() == pytest.approx(sum(g.correct for g in generations) / 6)
    assert found.first(4) == pytest.approx(sum(g.correct for g in generations[:4]) / 4)
    assert found.accuracy("isosceles") in (0.0, 1.0)
    assert found.clusters[generations[0].id] == generations[0].id.rpartition("#")[0]
    assert set(outcome(generations, solutions, "other.jsonl").clusters) == set(
        outcome(generations, solutions, "other.jsonl").clusters.values()
    )


THINKING = "{%- if enable_thinking is defined and not enable_thinking %}{{- 'no thoughts ' }}{%- endif %}"


def test_the_untrained_model_is_asked_what_the_runs_ask(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The template saved with a run has `chat_template_kwargs`; the base model's own was asked without them."""
    model = write_model(tmp_path / "model")
    template = model / "chat_template.jinja"
    template.write_text(template.read_text() + THINKING)
    fields = {"model": str(model), "chat_template_kwargs": '{"enable_thinking": false}', "data": "chain"}
    fields["generation_kwargs"] = '{"eos_token_id": 7}'
    plan = make_plan(load_experiment(write(fields, evaluate={"data": "chain", "limit": 2})), tmp_path / "out")
    (base,) = base_tasks(plan)
    asked: list[str] = []

    def generate(model: Any, processor: Any, problems: Any, **settings: Any) -> list[Generation]:
        ids = encode_prompts(processor, [problems[0]])["input_ids"][0]
        asked.append(processor.decode(ids))
        return generate_answers(model, processor, problems, **settings)

    monkeypatch.setattr(evaluation, "generate_answers", generate)
    write_tasks([base], plan.out / "tasks.json")
    assert run_tasks(plan.out / "tasks.json") == 0
    (text,) = asked
    assert text.endswith("no thoughts ")
    assert base.protocol.stops.ids == (7,)
    assert base.protocol.key != replace(base.protocol, chat_template_kwargs={}).key


def test_completions_end_where_trainings_do(plan: Plan) -> None:
    (base,) = base_tasks(plan)
    write_tasks([base], plan.out / "tasks.json")
    assert run_tasks(plan.out / "tasks.json") == 0
    texts = [one.text for one in load_generations(base.out)]
    stop = texts[0][4:6]
    other = replace(base.protocol, stops=stops_of({"stop": [stop]}))
    stopped = replace(base, out=str(plan.out / "stopped.jsonl"), protocol=other)
    write_tasks([stopped], plan.out / "tasks.json")
    assert run_tasks(plan.out / "tasks.json") == 0
    assert other.key != base.protocol.key
    assert load_generations(stopped.out)[0].text == texts[0].partition(stop)[0]


def test_a_lora_checkpoint_is_merged_into_the_base_model(plan: Plan) -> None:
    """An adapter that changes nothing answers as the base does; one that changes the weights does not."""
    (base,) = base_tasks(plan)
    made = {"base": base}
    for name, scale in (("idle", 0.0), ("loud", 1.0)):
        adapted = get_peft_model(embedded(), LoraConfig(r=2, target_modules="all-linear"))
        assert isinstance(adapted, PeftModel)
        with torch.no_grad():
            for key, weight in adapted.named_parameters():
                if "lora_B" in key:
                    weight.fill_(scale)
        adapted.save_pretrained(plan.out / name)
        made[name] = replace(base, checkpoint=str(plan.out / name), out=str(plan.out / f"{name}.jsonl"))
    write_tasks(list(made.values()), plan.out / "tasks.json")
    assert run_tasks(plan.out / "tasks.json") == 0
    texts = {name: [generation.text for generation in load_generations(task.out)] for name, task in made.items()}
    assert texts["idle"] == texts["base"]
    assert texts["loud"] != texts["base"]
