"""What every credit rule promises, and what `register` refuses: each kind of bad rule with its own sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cepo.credit.references import SOURCES, column_source, register_source
from cepo.credit.rules import (
    METHODS,
    STUDENT,
    Credit,
    Inputs,
    Knobs,
    Quantities,
    Rule,
    credit_from,
    get_method,
    register,
)
from cepo.credit.rules.rule import QUANTITIES
from cepo.errors import RuleError
from tests.credit.strategies import Batch, batches

CEPOS_FORMULA = ("rlsd", "cepo")
"""The rules that promise the paper's theorems; the others' own promises are in test_rule_invariants.py."""
RULES = [method for name, method in METHODS.items() if isinstance(method, Rule) and name in ("grpo", *CEPOS_FORMULA)]
ACTIVE = [rule for rule in RULES if rule.assign is not None]
pytestmark = pytest.mark.usefixtures("own_registrations")

OVER_RULES = pytest.mark.parametrize("rule", ACTIVE, ids=lambda rule: rule.name)


class Read(Mapping[str, Tensor]):
    """Log-probs that note which of them are asked for."""

    def __init__(self, logps: Mapping[str, Tensor]) -> None:
        self.logps, self.asked = logps, set[str]()

    def __getitem__(self, prompt: str) -> Tensor:
        self.asked.add(prompt)
        return self.logps[prompt]

    def __contains__(self, prompt: object) -> bool:
        return prompt in self.logps

    def __iter__(self) -> Iterator[str]:
        return iter(self.logps)

    def __len__(self) -> int:
        return len(self.logps)


def inputs_of(rule: Rule, batch: Batch, seed: int = 0) -> Inputs:
    """What the rule declares, from the batch's streams (two that may be infinite, and random ones)."""
    rng = torch.Generator().manual_seed(seed)
    rows, width = batch.mask_BT.shape
    given = {"plus": batch.plus_BT, "minus": batch.minus_BT}
    logps = {
        prompt: given[prompt] if prompt in given else -3 * torch.rand(rows, width, generator=rng, dtype=torch.float64)
        for prompt in rule.prompts
    }
    values: dict[str, Tensor] = {
        "entropy_BT": torch.rand(rows, width, generator=rng),
        "pass_rate_B": torch.rand(rows, generator=rng),
        "deviation_B": torch.rand(rows, generator=rng) + 0.1,
        "reward_B": torch.rand(rows, generator=rng),
        "verdict_B": batch.advantage_B > 0,
        "scores_BT": torch.rand(rows, width, generator=rng),
    }
    asked = {name: value for name, value in values.items() if name.rpartition("_")[0] in rule.reads}
    knobs = Knobs(batch.strength, batch.clip)
    return Inputs(rule.name, batch.advantage_B, batch.mask_BT, knobs, logps, Quantities(**asked))


def assign(rule: Rule, inputs: Inputs) -> Credit:
    assert rule.assign is not None
    return rule.assign(inputs)


# --- invariants of every rule that ships ------------------------------------------------------------------


@OVER_RULES
@given(batch=batches())
def test_every_tokens_advantage_has_the_sign_of_its_row(rule: Rule, batch: Batch) -> None:
    assert rule.keeps_sign
    advantage_BT = assign(rule, inputs_of(rule, batch)).advantage_BT
    assert torch.equal(advantage_BT.sign(), batch.advantage_B.sign()[:, None].expand_as(advantage_BT))


@OVER_RULES
@given(batch=batches())
def test_the_shift_is_within_lambda_eps(rule: Rule, batch: Batch) -> None:
    """|A_hat - A| <= lambda eps_w |A| (arXiv 2605.19436, Theorem 1), for the rules that have CEPO's formula."""
    credit = assign(rule, inputs_of(rule, batch))
    shift_BT = (credit.advantage_BT - batch.advantage_B[:, None]).abs()
    bound_B1 = (batch.strength * batch.clip + 1e-14) * batch.advantage_B.abs()[:, None]
    assert (shift_BT <= bound_B1).all()
    assert ((credit.weight_BT >= 1 - batch.clip - 1e-12) & (credit.weight_BT <= 1 + batch.clip + 1e-12)).all()


@OVER_RULES
@given(batch=batches())
def test_without_strength_it_is_grpo_bitwise(rule: Rule, batch: Batch) -> None:
    credit = assign(rule, inputs_of(rule, replace(batch, strength=0.0)))
    assert torch.equal(credit.advantage_BT, batch.advantage_B[:, None].expand_as(credit.advantage_BT))


@OVER_RULES
@given(batch=batches())
def test_evidence_stands_on_masked_tokens_alone(rule: Rule, batch: Batch) -> None:
    credit = assign(rule, inputs_of(rule, batch))
    out = batch.mask_BT == 0
    assert not credit.evidence_BT[out].any()
    assert (credit.weight_BT[out] == 1).all()


@OVER_RULES
def test_swapped_log_probs_are_seen(rule: Rule) -> None:
    """Each prompt matters, and in the direction that the paper says: the first raises, the other lowers."""
    first, second = rule.prompts
    batch = Batch(torch.ones(1), *[torch.zeros(1, 1)] * 3, torch.ones(1, 1), 0.5, 0.9)
    for raised, sign in ((first, 1), (second, -1)):
        inputs = inputs_of(rule, batch)
        logps = {prompt: torch.full((1, 1), -2.0 + 0.3 * (prompt == raised)) for prompt in rule.prompts}
        credit = assign(rule, replace(inputs, logps=logps))
        assert credit.evidence_BT.item() == pytest.approx(0.3 * sign)
        assert credit.weight_BT.item() == pytest.approx(math.exp(0.3 * sign))


@OVER_RULES
def test_what_is_declared_is_exactly_what_is_read(rule: Rule) -> None:
    batch = Batch(torch.ones(2), *[torch.zeros(2, 3)] * 3, torch.ones(2, 3), 0.5, 0.5)
    inputs = inputs_of(rule, batch)
    read = Read(inputs.logps)
    assign(rule, replace(inputs, logps=read))
    assert read.asked == set(rule.prompts)
    assert rule.references == tuple(prompt for prompt in rule.prompts if prompt != STUDENT)
    assert set(rule.references) <= SOURCES.keys()
    assert rule.reads <= set(QUANTITIES)


def test_grpo_reads_nothing() -> None:
    grpo = get_method("grpo")
    assert isinstance(grpo, Rule)
    assert (grpo.assign, grpo.prompts, grpo.reads) == (None, (), frozenset())


@OVER_RULES
@given(batch=batches(), threshold=st.floats(0.0, 3.0))
def test_evidence_below_the_dead_zone_is_nothing(rule: Rule, batch: Batch, threshold: float) -> None:
    inputs = inputs_of(rule, batch)
    plain = assign(rule, inputs).evidence_BT
    credit = assign(rule, replace(inputs, knobs=Knobs(batch.strength, batch.clip, threshold)))
    within = plain.abs() <= threshold
    assert not credit.evidence_BT[within].any()
    assert torch.equal(credit.advantage_BT[within], batch.advantage_B[:, None].expand_as(within)[within])


# --- what `register` refuses ------------------------------------------------------------------------------

Body = Callable[[Inputs], Any]
NUMBER = count()


def rule_of(body: Body, prompts: tuple[str, ...] = ("plus",), **more: Any) -> Rule:
    return Rule("mine", "a test", prompts, body, **more)


def plain(inputs: Inputs) -> Credit:
    """Every token keeps its row's advantage."""
    nothing_BT = torch.zeros_like(inputs.mask_BT, dtype=torch.float32)
    return Credit(nothing_BT, nothing_BT + 1, inputs.advantage_B[:, None].expand_as(nothing_BT).clone())


def reading(*prompts: str) -> Body:
    def body(inputs: Inputs) -> Credit:
        nothing_BT = torch.zeros_like(inputs.mask_BT, dtype=torch.float32)
        return credit_from(inputs, sum((inputs.logp(prompt) for prompt in prompts), nothing_BT))

    return body


def quantity(name: str) -> Body:
    def body(inputs: Inputs) -> Credit:
        getattr(inputs, name)
        return plain(inputs)

    return body


def changed(**streams: Callable[[Credit, Inputs], Tensor]) -> Body:
    """A plain credit with some of its streams replaced."""

    def body(inputs: Inputs) -> Credit:
        credit = plain(inputs)
        return replace(credit, **{name: change(credit, inputs) for name, change in streams.items()})

    return body


def not_again(credit: Credit, inputs: Inputs) -> Tensor:
    return credit.weight_BT + next(NUMBER)


def broken(inputs: Inputs) -> Credit:
    raise KeyError("price")


def misspelt() -> Rule:
    """As a user's script would make it, whose types nobody checks."""
    rule = rule_of(plain)
    object.__setattr__(rule, "reads", frozenset({"entorpy"}))
    return rule


BAD = {
    "a prompt that it did not declare": (
        rule_of(reading("plus", "minus")),
        r"rule 'mine' reads the prompt 'minus', but declares \('plus',\): add it to `prompts`",
    ),
    "the student, undeclared": (
        rule_of(reading("plus", "student"), ("plus", "minus")),
        r"reads the prompt 'student', but declares \('plus', 'minus'\)",
    ),
    "a prompt that there is not": (
        rule_of(reading("plsu"), ("plsu",)),
        "reads the prompt 'plsu', but there are student, plus, .*registered .* before the rule; did you mean 'plus'",
    ),
    "entropy, undeclared": (
        rule_of(quantity("entropy_BT")),
        "rule 'mine' reads 'entropy', but does not declare it: add it to its `reads`",
    ),
    "pass rate, undeclared": (rule_of(quantity("pass_rate_B"), reads=frozenset({"entropy"})), "reads 'pass_rate'"),
    "deviation, undeclared": (rule_of(quantity("deviation_B")), "reads 'deviation'"),
    "reward, undeclared": (rule_of(quantity("reward_B")), "reads 'reward'"),
    "verdict, undeclared": (rule_of(quantity("verdict_B")), "reads 'verdict'"),
    "scores, undeclared": (rule_of(quantity("scores_BT")), "reads 'scores'"),
    "a quantity that there is not": (
        misspelt(),
        r"reads \['entorpy'\]; what can be read is entropy, pass_rate",
    ),
    "declared, and no function": (
        Rule("mine", "a test", ("plus",)),
        "declares what it reads, but has no `assign`",
    ),
    "read, and no function": (
        Rule("mine", "a test", reads=frozenset({"entropy"})),
        "declares what it reads, but has no `assign`",
    ),
    "a name of ours": (
        Rule("cepo", "a test", ("plus",), plain),
        r"there is a method 'cepo' already \(CEPO, arXiv.*\); choose another name",
    ),
    "an exception": (rule_of(broken), "rule 'mine' fails on random input of 4 rows x 7 tokens: KeyError: 'price'"),
    "no Credit": (rule_of(lambda inputs: inputs.advantage_B), "rule 'mine' must return a Credit, got Tensor"),
    "one number for a row": (
        rule_of(changed(advantage_BT=lambda credit, inputs: inputs.advantage_B)),
        r"advantage_BT must be \(B, T\) = \(4, 7\), got \(4,\)",
    ),
    "a stream too short": (
        rule_of(changed(evidence_BT=lambda credit, inputs: credit.evidence_BT[:, :-1])),
        r"evidence_BT must be \(B, T\) = \(4, 7\), got \(4, 6\)",
    ),
    "a weight that is not finite": (
        rule_of(changed(weight_BT=lambda credit, inputs: credit.weight_BT / 0)),
        "weight_BT is not finite on finite input",
    ),
    "nan on padding, which would spoil the loss": (
        rule_of(changed(advantage_BT=lambda credit, inputs: credit.advantage_BT * inputs.mask_BT / inputs.mask_BT)),
        "advantage_BT is not finite on finite input",
    ),
    "a product with 1 / entropy, which is 0 on padding": (
        rule_of(
            changed(advantage_BT=lambda credit, inputs: credit.advantage_BT / inputs.entropy_BT),
            reads=frozenset({"entropy"}),
        ),
        "advantage_BT is not finite on finite input",
    ),
    "other numbers when called again": (
        rule_of(changed(weight_BT=not_again)),
        "weight_BT is another one when called again; draw from a fixed seed",
    ),
    "a tensor made on the CPU": (
        rule_of(changed(evidence_BT=lambda credit, inputs: credit.evidence_BT + torch.zeros(inputs.mask_BT.shape))),
        "rule 'mine' mixes a tensor on the CPU where its rows are on a GPU: make tensors where these are",
    ),
    "a weight on the CPU": (
        rule_of(changed(weight_BT=lambda credit, inputs: torch.ones(inputs.mask_BT.shape))),
        "rule 'mine' returns a tensor on the CPU where its rows are on a GPU",
    ),
    "a sign turned": (
        rule_of(changed(advantage_BT=lambda credit, inputs: -credit.advantage_BT)),
        "rule 'mine' turns the sign of A: say keeps_sign=False if that is meant",
    ),
    "a sign turned on one token": (
        rule_of(changed(advantage_BT=lambda credit, inputs: credit.advantage_BT * (1 - 2 * torch.eye(4, 7)))),
        "turns the sign of A",
    ),
    "credit where A = 0": (
        rule_of(changed(advantage_BT=lambda credit, inputs: credit.advantage_BT + 1e-3), keeps_sign=False),
        "rule 'mine' gives credit where A = 0: say acts_where_equal=True if that is meant",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_rule_is_refused_with_its_sentence(name: str) -> None:
    rule, words = BAD[name]
    before = dict(METHODS)
    with pytest.raises(RuleError, match=words):
        register(rule)
    assert before == METHODS, "a refused rule is not half there"


GOOD = {
    "as it is": rule_of(plain),
    "what it does depends on numbers": rule_of(
        changed(weight_BT=lambda credit, inputs: credit.weight_BT * (2 if inputs.advantage_B.any().item() else 1))
    ),
    "a sign turned, and said so": rule_of(
        changed(advantage_BT=lambda credit, inputs: -credit.advantage_BT), keeps_sign=False
    ),
    "credit where A = 0, and said so": rule_of(
        changed(advantage_BT=lambda credit, inputs: credit.advantage_BT + 1e-3), keeps_sign=False, acts_where_equal=True
    ),
    "anything finite on padding": rule_of(
        changed(advantage_BT=lambda credit, inputs: torch.where(inputs.mask_BT == 0, -7.0, credit.advantage_BT))
    ),
    "all that there is": rule_of(
        lambda inputs: [
            *map(inputs.logp, (*SOURCES, "student")),
            *(getattr(inputs, f"{name}_{axes}") for name, axes in AXES.items()),
            plain(inputs),
        ][-1],
        (*SOURCES, "student"),
        reads=frozenset(QUANTITIES),
    ),
    "scores alone, no prompt": rule_of(
        lambda inputs: credit_from(inputs, inputs.scores_BT), (), reads=frozenset({"scores"})
    ),
}
AXES = {"entropy": "BT", "pass_rate": "B", "deviation": "B", "reward": "B", "verdict": "B", "scores": "BT"}


@pytest.mark.parametrize("name", GOOD)
def test_a_rule_that_does_what_it_says_is_taken(name: str) -> None:
    register(GOOD[name])
    assert get_method("mine") is GOOD[name]


def test_a_rule_is_probed_with_what_it_declares_alone() -> None:
    """The prompts that it did not declare are not there at all, so that none can stand in for another."""
    seen: list[Inputs] = []

    def body(inputs: Inputs) -> Credit:
        seen.append(inputs)
        return plain(inputs)

    register(rule_of(body, ("minus", "student"), reads=frozenset({"entropy", "verdict"})))
    *numbers, elsewhere = seen
    assert elsewhere.mask_BT.device.type == "meta", "the last call is about the device, and has no numbers"
    for inputs in numbers:
        assert set(inputs.logps) == {"minus", "student"}
        quantities = inputs.quantities
        assert quantities.entropy_BT is not None
        assert quantities.verdict_B is not None
        assert (quantities.pass_rate_B, quantities.deviation_B, quantities.reward_B, quantities.scores_BT) == (
            None,
        ) * 4
        assert (inputs.advantage_B == 0).any()
        padding = inputs.mask_BT == 0
        assert padding.any()
        for stream_BT in (*inputs.logps.values(), quantities.entropy_BT):
            assert not stream_BT[padding].any(), "as in training, where padding is 0"
    assert len({(inputs.knobs.strength, inputs.knobs.clip, inputs.knobs.dead_zone) for inputs in seen}) > 2


def test_a_prompt_of_ones_own_is_registered_before_the_rule() -> None:
    rule = rule_of(reading("plus", "hint"), ("plus", "hint"))
    with pytest.raises(RuleError, match="reads the prompt 'hint'"):
        register(rule)
    register_source(column_source("hint", "hint"))
    register(rule)
    assert get_method("mine") is rule


def test_a_registered_name_may_be_replaced_and_a_wrong_one_gets_the_nearest() -> None:
    register(rule_of(plain))
    again = rule_of(reading("plus"))
    register(again)
    assert get_method("mine") is again
    with pytest.raises(RuleError, match=r"unknown method 'mien' .*did you mean 'mine'"):
        get_method("mien")
