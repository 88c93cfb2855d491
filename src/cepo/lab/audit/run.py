"""The audit, top to bottom: sample, choose references, score once, measure each part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest

from torch import nn
from transformers import PreTrainedModel

from cepo.answers import grader_timeouts
from cepo.errors import SettingError
from cepo.evaluate import end_tokens
from cepo.lab.audit.collect import Bench, chosen_for_steps, is_decided, progress_bar
from cepo.lab.audit.evidence import Key, ScoreBook
from cepo.lab.audit.first_error import record_first_errors
from cepo.lab.audit.ledger import Ledger
from cepo.lab.audit.measure import Choices, Floors, Meter, StepTable, choose, usable
from cepo.lab.audit.metrics import resamples
from cepo.lab.audit.montecarlo import reliability, steps_of, value_changes
from cepo.lab.audit.null import NullPair, null_floor, null_pairs, record_null
from cepo.lab.audit.problems import AuditProblem
from cepo.lab.audit.sampling import Processor, Sampler, encode, parts_of
from cepo.lab.audit.sensitivity import GROUP_SIZES, bins_of, levels_of
from cepo.lab.audit.settings import AuditSettings
from cepo.lab.audit.targets import Target
from cepo.lab.audit.variants import ASKING, Variant, grid, select

__all__ = ["DEAD_ZONES", "AuditResult", "run_audit"]

DEAD_ZONES = ("dead zone at the null median", "dead zone at the null p90")


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What was measured, and what a reader needs beside it.

    Attributes:
        facts: counts, of rollouts with labels and of Monte-Carlo steps only where there are some.
        floors: name of a dead zone -> variant -> its threshold, nats.
        notes: what was left out and why.
    """

    ledger: Ledger
    variants: Sequence[Variant]
    facts: Mapping[str, float]
    floors: Mapping[str, Mapping[str, float]]
    notes: Sequence[str]


def run_audit(
    settings: AuditSettings,
    problems: Sequence[AuditProblem],
    model: PreTrainedModel,
    teacher: nn.Module | None,
    processor: Processor,
    say: Callable[[str], None],
) -> AuditResult:
    """Audit the credit that `model` would give itself on `problems`.

    Args:
        teacher: other weights to audit as the teachers' beside the model's own; None: only its own.
        processor: the model's, or its tokenizer.
        say: is told what happens.

    Raises:
        DataError: a given completion that the tokenizer does not keep.
        SettingError: an unknown method, prompts and completions that are longer than the model's positions, no group
            with right and wrong rollouts.
        ValueError: a model without an end token.
    """
    return _Audit(settings, problems, model, teacher, processor, say).run()


class _Audit:
    """One run's state: what has been sampled and chosen so far."""

    def __init__(
        self,
        settings: AuditSettings,
        problems: Sequence[AuditProblem],
        model: PreTrainedModel,
        teacher: nn.Module | None,
        processor: Processor,
        say: Callable[[str], None],
    ) -> None:
        self.settings, self.problems, self.say = settings, problems, say
        variants = select(grid(other_teacher=teacher is not None), settings.methods)
        if all(problem.row.get("images") is None for problem in problems):
            variants = tuple(v for v in variants if v.asking.sees_images)  # blind is all that there is
        self.variants = variants
        tokenizer, image_token_id = parts_of(processor)
        prompts = [encode(processor, problem.row) for problem in problems]
        sampler = Sampler(model, end_tokens(model), image_token_id, settings.temperature, settings.max_new_tokens)
        self.bench = Bench(problems, prompts, tokenizer, sampler, settings.grading)
        self.book = ScoreBook(
            prompts,
            tokenizer,
            lambda prompt: str(processor.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)),
            (model, teacher),
            image_token_id,
            settings.temperature,
            settings.reference_max_tokens,
        )
        self.ledger = Ledger(resamples(len(problems), settings.replicates, settings.seed))
        self.meter = Meter(self.book, self.ledger, settings.clip)
        self.labelled = any(problem.worked for problem in problems)
        self.given = any(problem.given for problem in problems)
        self.notes: list[str] = []

    def run(self) -> AuditResult:
        parts, late = self._parts(), grader_timeouts()
        groups = self._groups()
        decided = {index: group for index, group in groups.items() if is_decided(group)}
        if not decided:
            of = "given completions" if self.given else f"{self.settings.rollouts} rollouts"
            raise SettingError(
                f"no group of {of} has both right and wrong ones: there is no credit to audit. Take more rollouts, or "
                "problems that their model solves some of the time"
            )
        self.say(f"{len(decided)} of {len(groups)} problems have right and wrong rollouts")
        main = self._choose(self.variants, [(member, group) for group in decided.values() for member in group])
        worked = self._worked(groups) if "labelled" in parts else Choices({})
        levels = self._levels(decided) if "sensitivity" in parts else {}
        table = self._steps(main) if "montecarlo" in parts else None
        nulls = self._nulls(groups)
        self._score([main, worked, *levels.values()], nulls)
        floors = self._floors(nulls)
        self.say("measuring")
        if "labelled" in parts:
            self._measure_labelled(main, worked, decided, floors, "sensitivity" in parts)
        if table is not None:
            self.meter.values("montecarlo", "", main, table, floors)
            self.ledger.add("montecarlo", "", "", {"reliability": table.reliability_R}, table.steps.problem_N)
        self._measure_levels(levels, table)
        if "null" in parts:
            record_null(nulls, self.book, self.ledger)
        if late := grader_timeouts() - late:
            self.notes.append(f"the grader did not answer {late} questions in time: these rollouts count as wrong")
        named = {zone: {v.name: threshold for v, threshold in of.items()} for zone, of in floors.items()}
        facts = self._facts(groups, decided, main, table)
        return AuditResult(self.ledger, self.variants, facts, named, self.notes)

    def _groups(self) -> dict[int, list[Target]]:
        """The rollouts of every problem: the given completions, else sampled ones."""
        settings, which = self.settings, range(len(self.problems))
        if not self.given:
            self.bench.check_length(settings.max_new_tokens)
            return self.bench.rollouts(which, settings.rollouts, settings.seed, "sampling rollouts")
        groups = self.bench.given()
        continued = settings.max_new_tokens if "montecarlo" in settings.parts else 0
        self.bench.check_length(max(continued, *(len(member.ids) for group in groups.values() for member in group)))
        self.notes.append("the rollouts are the given completions, each with an end token behind it")
        return groups

    def _parts(self) -> Sequence[str]:
        if self.labelled or "labelled" not in self.settings.parts:
            return self.settings.parts
        self.notes.append("the data has no labelled spans: only Monte-Carlo values and null references are audited")
        self.say(self.notes[-1])
        return [part for part in self.settings.parts if part in ("montecarlo", "null")]

    def _choose(
        self,
        variants: Sequence[Variant],
        placed: Sequence[tuple[Target, Sequence[Target]]],
        *,
        only_decided: bool = False,
    ) -> Choices:
        return choose(variants, placed, self.problems, self.settings.seed, only_decided=only_decided)

    def _worked(self, groups: Mapping[int, Sequence[Target]]) -> Choices:
        """Worked solutions beside their problem's rollouts; not by rationale, which is the text itself."""
        by_answer = [v for v in self.variants if v.asking.form == "answer"]
        worked = self.bench.worked(list(groups))
        return self._choose(by_answer, [(target, (target, *groups[target.problem])) for target in worked])

    def _levels(self, decided: Mapping[int, Sequence[Target]]) -> dict[tuple[str, str], Choices]:
        """(factor, value) -> references in those groups, of the plain way of asking."""
        if self.given:
            self.notes.append("given completions stay in groups of their own: none of other sizes or siblings")
            return {}
        which = list(islice(decided, self.settings.sensitivity_problems))
        more = max(0, GROUP_SIZES[-1] - self.settings.rollouts)
        extra = self.bench.rollouts(which, more, self.settings.seed + 1, "enlarging groups") if more else {}
        placed: dict[tuple[str, str], list[tuple[Target, Sequence[Target]]]] = {}
        for index in which:
            rollouts = [*decided[index], *extra.get(index, [])]
            for level in levels_of(rollouts, self.settings.rollouts):
                placed.setdefault((level.factor, level.value), []).extend(level.groups)
        plain = [variant for variant in self.variants if variant.asking == ASKING[0] and not variant.other_teacher]
        return {level: self._choose(plain, groups, only_decided=True) for level, groups in placed.items()}

    def _steps(self, main: Choices) -> StepTable | None:
        paired = set(main.paired())
        groups: dict[int, list[Target]] = {}
        for target, _ in main.placed:
            groups.setdefault(target.problem, []).append(target)
        settings = self.settings
        targets = chosen_for_steps(groups, paired.__contains__, settings.mc_problems, settings.mc_rollouts)
        if not targets:
            self.notes.append("no problem has right and wrong rollouts with references: no Monte-Carlo values")
            return None
        values = self.bench.values(targets, settings.continuations, settings.step_tokens, settings.seed + 2)
        steps = value_changes(targets, values)
        cuts = [steps_of(target, settings.step_tokens) for target in targets]
        return StepTable(targets, cuts, steps, reliability(steps, self.ledger.weight_RP))

    def _nulls(self, groups: Mapping[int, Sequence[Target]]) -> list[NullPair]:
        rounds = zip_longest(*groups.values())
        by_round = [target for members in rounds for target in members if target is not None]
        given = [
            sorted({member.rollout.answer for member in groups[index] if member.rollout.answer is not None})
            for index in range(len(self.problems))
        ]
        askings = list(dict.fromkeys(variant.asking for variant in self.variants))

        def length(reference: str) -> int:
            return len(self.bench.tokenizer(reference, add_special_tokens=False)["input_ids"])

        return null_pairs(
            by_round[: self.settings.null_rollouts], self.problems, given, askings, length, self.settings.seed
        )

    def _score(self, choices: Sequence[Choices], nulls: Sequence[NullPair]) -> None:
        for chosen in choices:
            self.book.want(chosen.keys())
        self.book.want(Key(target, ASKING[0], None) for target in choices[0].paired())
        for pair in nulls:
            self.book.want(pair.asked())
        self.say(f"{len(self.book)} rows to score")
        with progress_bar("scoring", len(self.book), "row") as bar:
            self.book.fill(bar.update)

    def _floors(self, nulls: Sequence[NullPair]) -> Floors:
        floors = {
            variant: null_floor(nulls, self.book, variant.asking, variant.method)
            for variant in self.variants
            if not variant.other_teacher
        }
        return {name: {v: pair[place] for v, pair in floors.items()} for place, name in enumerate(DEAD_ZONES)}

    def _measure_labelled(
        self, main: Choices, worked: Choices, decided: Mapping[int, Sequence[Target]], floors: Floors, bins: bool
    ) -> None:
        record_first_errors(main, self.book, self.ledger)
        targets = self.meter.labelled("sampled", main, floors)
        self.meter.labelled("worked", worked, {})
        plain = Choices({v: chosen for v, chosen in main.by_variant.items() if v.asking == ASKING[0]}, main.placed)
        self.meter.profile(plain, targets)
        if bins:
            self.meter.bins(plain, targets, {index: bins_of(group) for index, group in decided.items()})

    def _measure_levels(self, levels: Mapping[tuple[str, str], Choices], table: StepTable | None) -> None:
        """Every level on the rollouts that have references at all levels of its factor."""
        for factor in dict.fromkeys(factor for factor, _ in levels):
            own = {value: choices for (name, value), choices in levels.items() if name == factor}
            shared = set.intersection(*(set(choices.paired()) for choices in own.values()))
            for value, choices in own.items():
                self.meter.level(f"{factor}: {value}", choices, shared, table)

    def _facts(
        self,
        groups: Mapping[int, Sequence[Target]],
        decided: Mapping[int, Sequence[Target]],
        main: Choices,
        table: StepTable | None,
    ) -> dict[str, float]:
        rollouts = [member for group in groups.values() for member in group]
        paired = main.paired()
        facts: dict[str, float] = {
            "problems": len(groups),
            "problems_decided": len(decided),
            "rollouts": len(rollouts),
            "rollouts_right": sum(member.right for member in rollouts),
            "rollouts_truncated": sum(member.truncated for member in rollouts),
            "rollouts_with_credit": len(main.placed),
            "rollouts_compared": len(paired),
            "rows_scored": len(self.book),
        }
        if self.labelled:
            facts |= {
                "rollouts_not_parsed": sum(member.labels is None for member in rollouts),
                "rollouts_right_by_luck": sum(member.lucky for member in rollouts),
                "rollouts_labelled_and_compared": len(usable(paired)),
            }
        if table is not None:
            facts |= {
                "mc_rollouts": len(table.targets),
                "mc_steps": len(table.steps.change_N),
                "mc_continuations": self.settings.continuations,
                "mc_standard_error": float((table.steps.error_N**2).mean() ** 0.5),
            }
        return facts
