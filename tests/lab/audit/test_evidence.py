"""Evidence of the audit is the trainer's: same references, same prompts, same formula."""

import math

import numpy as np
import pytest

from cepo.credit.prompts import TeacherPrompts
from cepo.credit.references import MINUS_POLICIES, ReferencePolicy, choose_references
from cepo.data.datasets import DataSpec
from cepo.evaluate import end_tokens
from cepo.glossary import Group
from cepo.lab.audit.evidence import Key, ScoreBook, evidence_of, keys_of, placed_of, references_in
from cepo.lab.audit.problems import load_problems
from cepo.lab.audit.sampling import encode
from cepo.lab.audit.targets import sampled_target
from cepo.lab.audit.variants import ASKING, Asking, Variant, grid, select
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor
from cepo.scoring import ScoreRow, score
from tests.trainer.conftest import embedded

TEXTS = (
    r"Area is side times side. 9*9=81. \boxed{81}",
    r"Area is side times side. 9*8=72. \boxed{72}",
    r"Area is side times side. 9*7=63. \boxed{63}",
    "nothing boxed",
)


@pytest.fixture(scope="module")
def model():
    return embedded()


@pytest.fixture(scope="module")
def processor():
    return load_processor(str(EMBEDDED))


@pytest.fixture(scope="module")
def problem():
    problems = load_problems(DataSpec("geometry", split="validation", limit=30, seed=0, families=["rectangle"]), 0)
    return next(one for one in problems if one.gold == "81")


@pytest.fixture(scope="module")
def targets(problem, processor, model):
    tokenizer = processor.tokenizer
    ids = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in TEXTS]
    return [sampled_target(0, problem, tokenizer, own, end_tokens(model)) for own in ids]


@pytest.fixture
def book(model, processor, problem):
    return ScoreBook(
        [encode(processor, problem.row)],
        processor.tokenizer,
        lambda prompt: processor.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False),
        (model, None),
        processor.image_token_id,
        temperature=1.0,
    )


def by_hand(model, processor, problem, target, reference, style="user", images=True):
    """Log-probs of one row, scored alone."""
    prompt = encode(processor, problem.row)
    prompts = TeacherPrompts(
        processor.tokenizer,
        lambda p: processor.apply_chat_template(p, add_generation_prompt=True, tokenize=False),
        style,
    )
    ids = prompts.prompt_ids(prompt.messages, prompt.ids, reference)
    if not images:
        ids = [token for token in ids if token != processor.image_token_id]
    row = ScoreRow(ids, target.ids, prompt.images if images else None)
    width = len(target.ids)
    return score(model, [row], width=width, image_token_id=processor.image_token_id)[0].numpy()


def evidence(variant, target, problem, targets, book):
    place = targets.index(target)
    references = references_in(problem, targets, variant, seed=0)[place]
    assert references is not None
    book.want(keys_of(target, variant, references))
    book.fill()
    return evidence_of(target, variant, references, book)


def test_rlsd_and_cepo_by_hand(model, processor, problem, targets, book):
    target = targets[1]
    plus = by_hand(model, processor, problem, target, "81")
    student = by_hand(model, processor, problem, target, None)
    minus = by_hand(model, processor, problem, target, "72")
    rlsd = evidence(Variant("rlsd", None), target, problem, targets, book)
    assert np.allclose(rlsd, plus - student, atol=1e-5)
    own = evidence(Variant("cepo", "own"), target, problem, targets, book)
    assert np.allclose(own, plus - minus, atol=1e-5)
    assert np.abs(own).max() > 0.1


def test_marginal_is_the_mean_of_probabilities(model, processor, problem, targets, book):
    target = targets[0]
    plus, one, two = (by_hand(model, processor, problem, target, answer) for answer in ("81", "72", "63"))
    found = evidence(Variant("cepo", "marginal"), target, problem, targets, book)
    for t, value in enumerate(found):
        mean = (math.exp(one[t]) + math.exp(two[t])) / 2
        assert value == pytest.approx(plus[t] - math.log(mean), abs=1e-4)


def test_ways_of_asking_differ(model, processor, problem, targets, book):
    target = targets[1]
    prefill = evidence(Variant("cepo", "own", Asking("prefill")), target, problem, targets, book)
    expected = by_hand(model, processor, problem, target, "81", "prefill") - by_hand(
        model, processor, problem, target, "72", "prefill"
    )
    assert np.allclose(prefill, expected, atol=1e-5)
    blind = Variant("cepo", "worst", Asking("prefill", sees_images=False), allow_self=True)
    place = references_in(problem, targets, blind, seed=0)[1]
    assert place is not None
    found = evidence(blind, target, problem, targets, book)
    seen = [
        by_hand(model, processor, problem, target, r, "prefill", images=False) for r in ("81", place["minus"].texts[0])
    ]
    assert np.allclose(found, seen[0] - seen[1], atol=1e-5)


def test_a_rule_that_places_credit_is_blamed_for_its_credit_not_its_evidence(problem, targets):
    """The later token has more evidence, but the row was lost at the earlier one."""
    variant, target = Variant("decisive", "own", Asking(form="rationale")), targets[1]
    references = references_in(problem, targets, variant, seed=0)[1]
    assert references is not None
    student, plus, minus = (np.full(len(target.ids), -1.0, dtype=np.float32) for _ in range(3))
    plus[3], plus[6] = -3.5, -5.0
    told = (references["plus"].texts[0], references["minus"].texts[0])
    by_text = dict(zip((None, *told), (student, plus, minus), strict=True))
    book = {key: by_text[key.reference] for key in keys_of(target, variant, references)}
    assert not variant.goes_by_evidence
    assert np.argmin(evidence_of(target, variant, references, book)) == 6
    placed = placed_of(target, variant, references, book)
    fall = 1 - math.exp(-2.5)
    assert placed[3] == pytest.approx(-fall, abs=1e-6)
    assert placed[6] == pytest.approx(-(math.exp(-2.5) - math.exp(-6.5)), abs=1e-6)
    assert placed[[0, 1, 2, 4, 5]] == pytest.approx(0.0, abs=1e-6)
    assert Variant("cepo", "own").goes_by_evidence


@pytest.mark.parametrize("minus", MINUS_POLICIES)
def test_references_are_the_trainer_s(minus, problem, targets):
    group = Group(problem.gold, tuple(target.rollout for target in targets), problem.solution)
    policy = ReferencePolicy(minus=minus, fallback="grpo", seed=7)
    expected = choose_references(group, ("plus", "minus"), policy, step=1, index=0)
    found = references_in(problem, targets, Variant("cepo", minus), seed=7)
    wanted = [dict(one) if one["minus"].texts else None for one in expected]
    assert [None if one is None else dict(one) for one in found] == wanted


def test_without_an_admissible_reference_there_is_no_evidence(problem, targets):
    right_alone = references_in(problem, targets[:1], Variant("cepo", "sampled"), seed=0)
    assert right_alone == [None]
    assert references_in(problem, targets[:1], Variant("rlsd", None), seed=0) != [None]
    own_only = references_in(problem, targets[:2], Variant("cepo", "sampled"), seed=0)
    assert own_only[1] is None  # the only wrong answer is its own


def test_a_key_is_scored_once(targets, book, monkeypatch):
    key = Key(targets[0], ASKING[0], "81")
    book.want([key, key])
    assert len(book) == 1
    counted = []
    book.fill(counted.append)
    before = book[key]
    monkeypatch.setattr("cepo.lab.audit.evidence.score", lambda *args, **kwargs: pytest.fail("scored twice"))
    book.want([key])
    book.fill(counted.append)
    assert sum(counted) == 1
    assert book[key] is before
    with pytest.raises(KeyError):
        book[Key(targets[0], ASKING[0], "80")]


def test_log_probs_that_are_not_finite_are_refused(targets, book, model):
    broken = embedded()
    broken.lm_head.weight.data.fill_(float("nan"))
    book._models = (broken, None)
    book.want([Key(targets[0], ASKING[0], None)])
    with pytest.raises(ValueError, match="not finite"):
        book.fill()


def test_variant_names_are_different_and_can_be_chosen():
    variants = grid(other_teacher=True)
    names = [variant.name for variant in variants]
    assert len(set(names)) == len(names)
    assert {"rlsd", "cepo-own", "rlsd/prefill", "cepo-worst+self", "rlsd@teacher"} <= set(names)
    assert [v.name for v in select(variants, ["cepo-own/prefill"])] == [
        "cepo-own/prefill",
        "cepo-own/prefill/rationale",
    ]
    assert {v.method for v in select(variants, ["rlsd"])} == {"rlsd"}
    assert select(variants, None) == variants
    assert all(not v.other_teacher for v in grid(other_teacher=False))
    with pytest.raises(ValueError, match="did you mean 'cepo-own'"):
        select(variants, ["cepo-ow"])
