"""What stands between verl's batch and the credit, without verl."""

from __future__ import annotations

from typing import Any

import pytest

from cepo.credit.references import ReferencePolicy, choose_references
from cepo.glossary import Group, Rollout
from cepo.integrations.verl_rows import Row, read_settings, row_contexts


def algorithm(**fields: Any) -> dict[str, Any]:
    return {"adv_estimator": "grpo", "cepo": fields}


def test_settings() -> None:
    method, settings = read_settings(algorithm(preset="paper", credit_clip=0.3), "vanilla")
    assert (method.name, settings.reference_minus, settings.credit_clip) == ("cepo", "worst", 0.3)
    method, settings = read_settings(algorithm(method="rlsd", preset="paper"), "vanilla")
    assert settings.teacher_weights == "live", "the preset's synced teacher cannot be had"
    assert read_settings({"adv_estimator": "grpo"}, "vanilla")[0].name == "cepo"


@pytest.mark.parametrize(
    ("given", "loss", "words"),
    [
        (algorithm(credit_clp=0.3), "vanilla", "did you mean algorithm.cepo.credit_clip"),
        (algorithm(method="opsd"), "vanilla", "grpo, rlsd or cepo"),
        (algorithm(teacher_weights="ema"), "vanilla", "teacher_weights='ema'"),
        (algorithm(preset="released-code"), "vanilla", "blinds the teachers"),
        (algorithm(evidence_dead_zone="auto"), "vanilla", "null control"),
        (algorithm(), "gspo", "loss_mode='gspo'"),
        (algorithm() | {"adv_estimator": "gae"}, "vanilla", "adv_estimator='gae'"),
    ],
)
def test_refused(given: dict[str, Any], loss: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_settings(given, loss)


def row(uid: str, said: str, advantage: float, gold: str = "7") -> Row:
    return Row(uid, gold, f"so \\boxed{{{said}}}", float(said == gold), advantage, "x", [1], [2, 3])


def test_contexts_are_the_groups_references() -> None:
    """Groups interleave; a row without an advantage, and a group that is all wrong, are not scored."""
    rows = {
        0: row("a", "7", 0.5), 1: row("b", "1", 1.0), 3: row("a", "8", -0.5), 4: row("b", "2", -1.0),
        6: row("a", "9", 0.0),
    }  # fmt: skip
    policy = ReferencePolicy(minus="worst")
    contexts = row_contexts(rows, policy, 3, contrastive=True)
    assert set(contexts) == {0, 3}
    members = [Rollout(rows[i].text, said, said == "7", rows[i].reward) for i, said in ((0, "7"), (3, "8"), (6, "9"))]
    chosen = choose_references(Group("7", tuple(members)), policy, step=3, index=0)
    assert contexts[0].references == chosen[0]
    assert contexts[3].references == chosen[1]
    assert contexts[0].references.minus[0] in ("8", "9")
    assert row_contexts(rows, policy, 3, contrastive=False)[0].references.minus == ()
