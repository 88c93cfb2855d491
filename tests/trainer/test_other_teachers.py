"""Teachers that are not the policy: another checkpoint, several by name, and what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cepo import Credit, Inputs, Rule, credit_from, privileged_gain, register
from cepo.credit.references import SOURCES, choose_references
from cepo.credit.references import ReferencePolicy as Policy
from cepo.credit.rules import METHODS
from cepo.errors import ModelError, RuleError, SettingError
from cepo.glossary import Group, Rollout
from cepo.trainer.other_teachers import OtherTeachers, check_tokenizer
from cepo.trainer.teacher_specs import parse_teachers
from tests.runs.small import write_model
from tests.trainer.small_text import build


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("small") / "model")


@pytest.fixture(scope="module")
def large(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another checkpoint of the same tokenizer: its log-probs are far from the policy's."""
    folder = tmp_path_factory.mktemp("large") / "model"
    model: Any = AutoModelForCausalLM.from_pretrained(small, dtype=torch.float32)
    torch.manual_seed(9)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(small).save_pretrained(folder)
    return folder


@pytest.fixture
def make(small: Path, tmp_path: Path) -> Callable[..., Any]:
    return lambda **fields: build(small, tmp_path, **{"shuffle_dataset": False, **fields})


@pytest.fixture
def registered() -> Iterator[None]:
    known, methods = dict(SOURCES), dict(METHODS)
    yield
    SOURCES.clear(), SOURCES.update(known)
    METHODS.clear(), METHODS.update(methods)


def credited(trainer: Any) -> Any:
    """The step of one generation, and its batch."""
    steps: list[Any] = []
    credit = trainer._credited

    def watching(*given: Any) -> Any:
        steps.append(credit(*given))
        return steps[-1]

    trainer._credited = watching
    trainer.model.train()
    torch.manual_seed(1)
    trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    return steps[0]


def alone(folder: Path, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """Log-probs (T,) by the checkpoint's own forward."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0].float()
    own = logits.log_softmax(dim=-1)[len(prompt) - 1 : -1]
    return own.gather(1, torch.tensor(completion)[:, None])[:, 0]


def test_another_checkpoint_reads_in_the_policys_place(make: Any, large: Path) -> None:
    own, other = credited(make()), credited(make(teachers=str(large)))
    assert list(own.rows) == list(other.rows)
    row = own.rows[0]
    assert (own.logps[row]["plus"] - other.logps[row]["plus"]).abs().max() > 0.1
    trainer = make(teachers={"default": {"model": str(large), "dtype": "float32"}})
    seen: list[Any] = []
    scorer = trainer.others.scorers["default"]
    trainer.others.scorers["default"] = lambda rows, width: seen.extend(rows) or scorer(rows, width)
    step = credited(trainer)
    first = step.logps[step.rows[0]]["plus"]
    expected = alone(large, list(seen[0].prompt_ids), list(seen[0].completion_ids))
    torch.testing.assert_close(first[: len(expected)].cpu(), expected, atol=1e-4, rtol=1e-4)
    assert not any(parameter.requires_grad for parameter in trainer.others.models["default"].parameters())


def between(inputs: Inputs) -> Credit:
    return credit_from(inputs, privileged_gain(inputs.logp("bare@large"), inputs.logp("student"), inputs.mask_BT))


@pytest.mark.usefixtures("registered")
def test_a_rule_reads_two_teachers(make: Any, large: Path) -> None:
    register(Rule("between", "a larger model's log-probs", ("plus", "plus@large", "bare@large", "student"), between))
    step = credited(make(method="between", teachers={"large": str(large)}, null_control_every=1))
    row = step.rows[0]
    logps, told = step.logps[row], step.references[row]
    assert told["plus"].texts == told["plus@large"].texts, "both read the same reference"
    assert told["bare@large"].texts == ("",)
    assert len({round(float(logps[name].sum()), 3) for name in logps}) == 4
    place = list(step.rows).index(row)
    expected = (logps["bare@large"] - logps["student"]) * step.inputs.mask_BT[place]
    torch.testing.assert_close(step.credit.evidence_BT[place], expected)
    with pytest.raises(SettingError, match=r"asks a teacher 'large', which teachers=\[\] does not have"):
        make(method="between")
    with pytest.raises(SettingError, match=r"teachers.small: no prompt of method='between' is read by it"):
        make(method="between", teachers={"large": str(large), "small": str(large)})


@pytest.mark.usefixtures("registered")
def test_two_teachers_are_told_the_same_wrong_answer() -> None:
    rule = replace(METHODS["cepo"], name="both", prompts=("minus", "minus@large", "plus"))
    with pytest.raises(RuleError, match="'minuss@large'"):
        register(replace(rule, prompts=("minuss@large",)))
    register(rule)
    rollouts = tuple(Rollout(str(i), str(i), i == 0, float(i == 0)) for i in range(8))
    for row in choose_references(Group("0", rollouts), rule.references, Policy(minus="sampled"), step=3, index=1):
        assert row["minus"].texts == row["minus@large"].texts


@pytest.mark.parametrize("method", ["opsd", "sdpo"])
def test_it_teaches_distributions(method: str, make: Any, large: Path) -> None:
    losses = []
    for teachers in (None, str(large)):
        trainer = make(method=method, teachers=teachers, max_steps=1)
        trainer.train()
        losses.append(trainer.state.log_history[0]["distill/loss"])
    assert losses[1] > 10 * losses[0] > 0


def test_another_tokenizer_is_refused(make: Any, large: Path, tmp_path: Path, small: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(small)
    other: Any = AutoTokenizer.from_pretrained(small)
    vocab = tokenizer.get_vocab()
    first, second = sorted(vocab, key=vocab.__getitem__)[5:7]
    other.get_vocab = lambda: vocab | {first: vocab[second], second: vocab[first]}
    with pytest.raises(
        ModelError, match=f"2 of {len(tokenizer)} tokens differ, such as .*, which is 5 for the student"
    ):
        check_tokenizer("teachers.large (x)", other, tokenizer)
    few: Any = AutoModelForCausalLM.from_pretrained(small)
    few.resize_token_embeddings(8)
    few.save_pretrained(tmp_path / "few")
    tokenizer.save_pretrained(tmp_path / "few")
    with pytest.raises(ModelError, match="knows 8 tokens, the student's tokenizer has"):
        make(teachers=str(tmp_path / "few"))
    with pytest.raises(ModelError, match="cannot load the model"):
        make(teachers=str(tmp_path / "none"))
    with pytest.raises(SettingError, match=r"teachers\.default: it cannot be brought to device='no:1'"):
        make(teachers={"default": {"model": str(large), "device": "no:1"}})


@pytest.mark.parametrize(
    ("teachers", "words"),
    [
        ({"default": {"model": "x", "dtpye": "float32"}}, "teachers.default has no 'dtpye'.*did you mean 'dtype'"),
        ({"default": {}}, "teachers.default names no model"),
        ({"default": 3}, "teachers.default=3: give a checkpoint"),
        ({"default": {"model": "x", "dtype": "int3"}}, "unknown dtype 'int3'"),
        ({"default": {"model": "x", "server": "localhost:8000"}}, "is no address"),
        ({"default": {"model": "x", "retries": -1}}, "retries=-1 must be a number of at least 0"),
        ([1], r"teachers=\[1\]: give a checkpoint, or"),
    ],
)
def test_what_is_no_teacher(teachers: Any, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        parse_teachers(teachers)


def test_weights_of_the_policys_and_others_are_refused(make: Any, large: Path) -> None:
    with pytest.raises(SettingError, match="teacher_weights='ema' names weights of the policy's"):
        make(teachers=str(large), teacher_weights="ema")
    assert parse_teachers('{"a": "b"}')["a"].model == "b"


def test_a_teacher_of_some_rows_is_asked_by_their_process_alone(small: Path, make: Callable[..., Any]) -> None:
    """Sharing its scoring would be a collective call, to which a process without such rows does not come."""
    trainer = make()
    scorer = replace(trainer.scorer, balance=True, is_sharded=True)
    others = OtherTeachers.load(parse_teachers({"big": str(small)}), scorer, trainer.tokenizer, False)
    own: Any = others.scorers["big"]
    assert (own.balance, own.is_sharded) == (False, False)
