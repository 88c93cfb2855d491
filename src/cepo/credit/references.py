"""What teachers are told, chosen within one group: the registry of references. No model, no tensors.

A prompt has a name ("plus", "minus", ...), and a source that chooses what it tells. Rules and distillations ask for
prompts by name; scoring, records, reports, the audit and verl take whatever is registered here.

A rollout is wrong when the grader says so (`Rollout.correct is False`), never because its advantage is
negative. An admissible r- also parses, an answer was extracted from it, and does not say what r+ says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias, get_args

from cepo.answers import same_answer
from cepo.errors import RuleError, SettingError
from cepo.glossary import Group, ReferenceForm, Rollout, Told

__all__ = [
    "MAX_REFERENCE_CHARS",
    "MINUS_POLICIES",
    "SOURCES",
    "Choice",
    "Fallback",
    "MinusPolicy",
    "ReferencePolicy",
    "ReferenceSource",
    "References",
    "choose_references",
    "column_source",
    "columns_of",
    "irrelevant_references",
    "register_source",
    "told_by_data",
]

MinusPolicy = Literal["worst", "sampled", "common", "own", "marginal", "word_none"]
Fallback = Literal["rlsd", "grpo"]

References: TypeAlias = Mapping[str, Told]
"""What the prompts of one row tell, by the prompts' names."""

MAX_REFERENCE_CHARS = 200
"""A longer extracted 'answer' is a rollout gone astray, not an answer, and would swell the prompts."""

NOTHING = Told((), "none")
"""There is nothing to tell: the row keeps its base advantage."""


@dataclass(frozen=True, slots=True)
class ReferencePolicy:
    """How references are chosen.

    Attributes:
        minus: `worst`: of the wrong rollouts with the lowest reward one is drawn; `sampled`: any wrong
            rollout, drawn for each row; `common`: the most frequent wrong answer; `own`: a wrong row's own
            answer; where it has none, and for a right row, `sampled`; `marginal`: up to `count` distinct
            wrong answers, the most frequent first; `word_none`: the word None for every row of a group with a wrong
            rollout. That is the released code's r- wherever its extractor finds no answer, and is there so that
            what it costs can be measured.
        form: `answer`, or `rationale`: whole rollouts (r+ the data set's solution, else a right sibling's).
        fallback: what stands in when no r- is admissible: `rlsd` (P- := P_S) or `grpo` (no evidence).
        allow_self: whether a wrong row may be told its own answer. The released code does so.
        count: K of `marginal`.
        seed: of the draws, with the step and the row: equal on any number of processes.

    Raises:
        SettingError: a word that is none of MinusPolicy, ReferenceForm or Fallback, or a count below 1.
    """

    minus: str = "own"
    form: str = "answer"
    fallback: str = "rlsd"
    allow_self: bool = False
    count: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.minus == "none":
            raise SettingError("the r- policy 'none' is now called 'word_none': it tells the word None")
        if self.minus not in MINUS_POLICIES:
            raise SettingError(f"unknown r- policy {self.minus!r}; choose from {', '.join(MINUS_POLICIES)}")
        if self.form not in ("answer", "rationale"):
            raise SettingError(f"unknown reference form {self.form!r}; choose 'answer' or 'rationale'")
        if self.fallback not in ("rlsd", "grpo"):
            raise SettingError(f"unknown fallback {self.fallback!r}; choose 'rlsd' or 'grpo'")
        if self.count < 1:
            raise SettingError(f"the number of wrong references must be at least 1, got {self.count}")

    @property
    def reference_form(self) -> ReferenceForm:
        return "rationale" if self.form == "rationale" else "answer"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a source chooses from: a group, the row's place in it, the settings, and draws of its own."""

    group: Group
    row: int
    policy: ReferencePolicy
    rng: Random

    @property
    def own(self) -> Rollout:
        return self.group.rollouts[self.row]


@dataclass(frozen=True, slots=True)
class ReferenceSource:
    """A prompt and where its reference comes from: one entry of the registry.

    Attributes:
        name: the prompt's name, as rules declare it.
        choose: what one row is told. It may return `NOTHING`: the row then keeps its base advantage.
        columns: columns of the data that it reads, as text in `Group.columns`.
        of_rollout: the form of what it may tell of a rollout, so that lengths are checked for the longest one: an
            answer, a whole solution, or whichever of them the policy says. None: it never tells what a rollout says.
        row_free: whether what a row is told does not depend on what the row itself says.
    """

    name: str
    choose: Callable[[Choice], Told]
    columns: tuple[str, ...] = ()
    of_rollout: ReferenceForm | Literal["policy"] | None = None
    row_free: bool = False


def choose_references(
    group: Group, prompts: Sequence[str], policy: ReferencePolicy, *, step: int, index: int
) -> tuple[References, ...]:
    """What every row of a group is told under the given prompts, in row order.

    Args:
        group: the rollouts with the grader's verdicts.
        prompts: names in SOURCES.
        policy: how to choose.
        step: optimiser step, from 1; enters the draws.
        index: the group's place in the global batch; enters the draws.

    Degenerate cases: a row that cannot be told one of them is told none at all (`NOTHING`), and keeps its base
    advantage; without an admissible r- the policy's fallback is named as the source.
    """
    chosen = []
    for row in range(len(group.rollouts)):
        told = {name: SOURCES[name].choose(_choice(group, row, policy, step, index, name)) for name in prompts}
        if any(one.source == NOTHING.source for one in told.values()):
            told = dict.fromkeys(told, NOTHING)
        chosen.append(told)
    return tuple(chosen)


def _choice(group: Group, row: int, policy: ReferencePolicy, step: int, index: int, name: str) -> Choice:
    # r- has had draws without its name from the first release on: runs of then are repeated to the bit.
    own = "" if name == "minus" else f"/{name}"
    return Choice(group, row, policy, Random(f"{policy.seed}/{step}/{index}/{row}{own}"))


NO_ANSWER = "None"
"""What the released code's extractor returns for a rollout without an answer, and then tells as r-."""

NEUTRAL = ("unknown", "unclear")
"""A null contrast's references where the batch offers no two other answers."""


def irrelevant_references(group: Group, others: Sequence[str], rng: Random) -> tuple[str, str]:
    """Two different references that have nothing to do with the group: a null contrast.

    They are drawn from `others` (gold answers of other problems) such that neither is the group's gold answer
    or any answer that it gave. Where there are no two, two neutral words. Their evidence is the noise floor.
    """
    known = [group.gold, *(rollout.answer for rollout in group.rollouts)]
    used = {answer for answer in known if answer is not None}
    free: list[str] = []
    for other in rng.sample(sorted(set(others)), len(set(others))):
        if not any(_same(answer, other) for answer in (*used, *free)):
            free.append(other)
        if len(free) == 2:
            return free[0], free[1]
    return NEUTRAL


def column_source(name: str, column: str, form: ReferenceForm = "answer") -> ReferenceSource:
    """A prompt that tells what a column of the data holds: another model's solution, a hint, a skill card."""

    def choose(choice: Choice) -> Told:
        text = choice.group.columns.get(column)
        return NOTHING if text is None else Told((text,), column, form)

    return ReferenceSource(name, choose, columns=(column,), row_free=True)


def told_by_data(name: str, problem: Group, policy: ReferencePolicy) -> Told:
    """What a prompt tells of a problem before there is any rollout; without texts where a rollout would decide."""
    unanswered = Rollout("", None, None, 0.0)
    group = Group(problem.gold, (unanswered,), problem.solution, problem.columns)
    return SOURCES[name].choose(Choice(group, 0, policy, Random(0)))


def columns_of(prompts: Sequence[str]) -> tuple[str, ...]:
    """Columns of the data that these prompts read, beside answer and solution."""
    return tuple(dict.fromkeys(column for name in prompts for column in SOURCES[name].columns))


def register_source(source: ReferenceSource) -> None:
    """Make a prompt of your own known; rules declare it by its name. Registering a name again replaces it.

    Raises:
        RuleError: the name is one of ours, or "student", which holds no reference.
    """
    if source.name in _OURS or source.name == "student":
        raise RuleError(f"there is a prompt {source.name!r} already; choose another name")
    SOURCES[source.name] = source


# --- r+ ------------------------------------------------------------------------------------------------------


def _plus(choice: Choice) -> Told:
    """The right answer (or solution): the data's, else a right sibling's."""
    group, form = choice.group, choice.policy.reference_form
    gold = group.gold if form == "answer" else group.solution
    if gold is not None:
        return Told((gold,), "gold", form)
    for sibling, rollout in enumerate(group.rollouts):
        text = _reference_text(rollout, form)
        if sibling != choice.row and rollout.correct and text is not None:
            return Told((text,), "sibling", form)
    return NOTHING


def _solution(choice: Choice) -> Told:
    """The data's worked solution, else its answer (OPSD)."""
    group = choice.group
    if group.solution is not None:
        return Told((group.solution,), "gold", "rationale")
    return NOTHING if group.gold is None else Told((group.gold,), "gold")


def _peer(choice: Choice) -> Told:
    """The group's first right rollout other than the row itself (SDPO)."""
    peers = (r.text.strip() for i, r in enumerate(choice.group.rollouts) if i != choice.row and r.correct)
    text = next((text for text in peers if text), None)
    return NOTHING if text is None else Told((text,), "sibling", "rationale")


# --- r- ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A wrong rollout that may serve as r-."""

    row: int
    rollout: Rollout
    text: str


def _minus(choice: Choice) -> Told:
    """A wrong answer (or a wrong rollout) of the group, as the policy picks it."""
    policy, wrong = choice.policy, _wrong(choice)
    admissible = [candidate for candidate in wrong if policy.minus == "own" and candidate.row == choice.row]
    if not admissible:
        admissible = [c for c in wrong if policy.allow_self or not _is_own(c, choice.row, choice.own)]
    return _picked(choice, choice.group.rollouts, admissible)


def _rival(choice: Choice) -> Told:
    """A wrong answer of another rollout, as the policy picks it; what the row itself says plays no part.

    `minus` spares a wrong row its own answer, so that which answer it is told says something of the row. `own` picks
    as `sampled` does.
    """
    others = [rollout for row, rollout in enumerate(choice.group.rollouts) if row != choice.row]
    return _picked(choice, others, [candidate for candidate in _wrong(choice) if candidate.row != choice.row])


def _wrong(choice: Choice) -> list[_Candidate]:
    """The group's wrong rollouts that may be told."""
    policy = choice.policy
    wrong = _wrong_candidates(choice.group, policy.reference_form)
    if policy.form == "answer":  # a named reward may find a rollout wrong whose answer is right
        right = _plus(choice).texts
        wrong = [candidate for candidate in wrong if not (right and _same(candidate.text, right[0]))]
    return wrong


def _picked(choice: Choice, rollouts: Sequence[Rollout], admissible: list[_Candidate]) -> Told:
    policy = choice.policy
    if policy.minus == "word_none" and any(rollout.correct is False for rollout in rollouts):
        return Told((NO_ANSWER,), "group", policy.reference_form)
    if not admissible:
        return Told((), policy.fallback, policy.reference_form)
    picked = _PICK[policy.minus](admissible, policy, choice.rng)
    is_own = any(_is_own(candidate, choice.row, choice.own) for candidate in picked)
    return Told(tuple(candidate.text for candidate in picked), "group", policy.reference_form, is_own)


def _wrong_candidates(group: Group, form: ReferenceForm) -> list[_Candidate]:
    candidates = []
    for row, rollout in enumerate(group.rollouts):
        text = _reference_text(rollout, form)
        if rollout.correct is False and text is not None:
            candidates.append(_Candidate(row, rollout, text))
    return candidates


def _reference_text(rollout: Rollout, form: ReferenceForm) -> str | None:
    if rollout.answer is None or len(rollout.answer) > MAX_REFERENCE_CHARS:
        return None
    return rollout.answer if form == "answer" else rollout.text.strip() or None


def _is_own(candidate: _Candidate, row: int, own: Rollout) -> bool:
    if candidate.row == row:
        return True
    return own.correct is False and own.answer is not None and _same(candidate.rollout.answer, own.answer)


def _same(candidate: str | None, other: str) -> bool:
    return candidate == other or same_answer(candidate, other)


def _worst(admissible: list[_Candidate], policy: ReferencePolicy, rng: Random) -> list[_Candidate]:
    lowest = min(candidate.rollout.reward for candidate in admissible)
    return [rng.choice([candidate for candidate in admissible if candidate.rollout.reward == lowest])]


def _sampled(admissible: list[_Candidate], policy: ReferencePolicy, rng: Random) -> list[_Candidate]:
    return [rng.choice(admissible)]


def _common(admissible: list[_Candidate], policy: ReferencePolicy, rng: Random) -> list[_Candidate]:
    return _distinct(admissible)[:1]


def _marginal(admissible: list[_Candidate], policy: ReferencePolicy, rng: Random) -> list[_Candidate]:
    return _distinct(admissible)[: policy.count]


def _distinct(admissible: list[_Candidate]) -> list[_Candidate]:
    """One candidate for each distinct answer, the most frequent answer first, then in row order."""
    clusters: list[list[_Candidate]] = []
    for candidate in admissible:
        for cluster in clusters:
            if _same(candidate.rollout.answer, cluster[0].rollout.answer or ""):
                cluster.append(candidate)
                break
        else:
            clusters.append([candidate])
    return [cluster[0] for cluster in sorted(clusters, key=len, reverse=True)]


_PICK: dict[str, Callable[[list[_Candidate], ReferencePolicy, Random], list[_Candidate]]] = {
    "worst": _worst,
    "sampled": _sampled,
    "common": _common,
    "own": _sampled,
    "marginal": _marginal,
}
MINUS_POLICIES: tuple[MinusPolicy, ...] = get_args(MinusPolicy)

SOURCES: dict[str, ReferenceSource] = {
    source.name: source
    for source in (
        ReferenceSource("plus", _plus, of_rollout="policy", row_free=True),
        ReferenceSource("minus", _minus, of_rollout="policy"),
        ReferenceSource("rival", _rival, of_rollout="policy", row_free=True),
        ReferenceSource("solution", _solution, row_free=True),
        ReferenceSource("peer", _peer, of_rollout="rationale", row_free=True),
    )
}
"""The registry: prompt name -> where its reference comes from."""

_OURS = frozenset(SOURCES)
