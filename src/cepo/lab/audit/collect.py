"""The rollouts of an audit: groups, their enlargement to 32, and continuations of their prefixes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from cepo.answers import BOXED, Grading
from cepo.errors import SettingError
from cepo.lab.audit.montecarlo import Value, steps_of
from cepo.lab.audit.problems import AuditProblem
from cepo.lab.audit.sampling import Prompt, Sampler, Start
from cepo.lab.audit.targets import Target, given_target, sampled_target, worked_target

__all__ = ["Bench", "chosen_for_steps", "is_decided", "progress_bar"]


def progress_bar(what: str, total: int, unit: str) -> tqdm:
    """A bar on stderr; silent where stderr is no terminal."""
    return tqdm(total=total, desc=what, unit=unit, disable=None)


def is_decided(group: Sequence[Target]) -> bool:
    """Whether some rollouts are right and some wrong: only then does training give token-level credit."""
    return len({member.right for member in group}) == 2


@dataclass(frozen=True, slots=True)
class Bench:
    """Problems with their encoded prompts, and what samples and reads their completions."""

    problems: Sequence[AuditProblem]
    prompts: Sequence[Prompt]
    tokenizer: PreTrainedTokenizerBase
    sampler: Sampler
    grading: Grading = BOXED

    def rollouts(self, which: Sequence[int], count: int, seed: int, what: str) -> dict[int, list[Target]]:
        """`count` rollouts of each of the problems `which`."""
        with progress_bar(what, len(which), "problem") as bar:
            sampled = self.sampler.complete([Start(self.prompts[index]) for index in which], count, seed, bar.update)
        return {
            index: [
                sampled_target(index, self.problems[index], self.tokenizer, ids, self.sampler.ends, self.grading)
                for ids in completions
            ]
            for index, completions in zip(which, sampled, strict=True)
        }

    def check_length(self, completion: int) -> None:
        """A teacher's prompt holds one whole completion more, where references are rationales.

        Raises:
            SettingError: the longest prompt with two completions of so many tokens exceeds the model's positions.
        """
        limit = getattr(self.sampler.model.config.get_text_config(), "max_position_embeddings", None)
        prompt = max(len(prompt.ids) for prompt in self.prompts)
        if limit is not None and prompt + 2 * completion > limit:
            raise SettingError(
                f"the longest prompt has {prompt} tokens, a reference and a completion up to {completion} each: more "
                f"than the model's {limit} positions. Lower --max-new-tokens, or take shorter problems or completions"
            )

    def given(self) -> dict[int, list[Target]]:
        """The completions that the problems come with.

        Raises:
            DataError: a completion that the tokenizer does not keep.
        """
        ends = self.sampler.ends
        return {
            index: [given_target(index, problem, self.tokenizer, one, ends, self.grading) for one in problem.given]
            for index, problem in enumerate(self.problems)
        }

    def worked(self, which: Sequence[int]) -> list[Target]:
        """The worked solutions of the problems `which`."""
        end = self.sampler.ends[0]
        return [
            worked_target(index, self.problems[index], self.tokenizer, solution, end)
            for index in which
            for solution in self.problems[index].worked
        ]

    def values(self, targets: Sequence[Target], samples: int, step_tokens: int, seed: int) -> list[list[Value]]:
        """For each target its values at the start and after each step; a prefix that two share is sampled once."""
        cuts = {target: [0, *(last for _, last in steps_of(target, step_tokens))] for target in targets}
        open_prefixes: dict[tuple[int, tuple[int, ...]], None] = {}
        for target, places in cuts.items():
            ends_itself = places if target.truncated else places[:-1]
            open_prefixes |= dict.fromkeys((target.problem, target.ids[:place]) for place in ends_itself)
        outcomes = self._outcomes(list(open_prefixes), samples, seed)
        found = []
        for target, places in cuts.items():
            values = [outcomes.get((target.problem, target.ids[:place])) for place in places]
            found.append([Value((target.right,), exact=True) if value is None else value for value in values])
        return found

    def _outcomes(
        self, prefixes: Sequence[tuple[int, tuple[int, ...]]], samples: int, seed: int
    ) -> Mapping[tuple[int, tuple[int, ...]], Value]:
        with progress_bar("continuing prefixes", len(prefixes), "prefix") as bar:
            starts = [Start(self.prompts[problem], prefix) for problem, prefix in prefixes]
            sampled = self.sampler.complete(starts, samples, seed, bar.update)
        found = {}
        for (problem, prefix), completions in zip(prefixes, sampled, strict=True):
            gold = self.problems[problem].gold
            texts = [str(self.tokenizer.decode([*prefix, *ids], skip_special_tokens=True)) for ids in completions]
            verdicts = self.grading.verdicts(texts, [gold] * len(texts))
            found[problem, prefix] = Value(tuple(verdict.same is True for verdict in verdicts))
        return found


def chosen_for_steps(
    groups: Mapping[int, Sequence[Target]], usable: Callable[[Target], bool], problems: int, rollouts: int
) -> list[Target]:
    """Of the first `problems` problems up to `rollouts` usable rollouts each, right and wrong in turn."""
    chosen: list[Target] = []
    taken = 0
    for group in groups.values():
        right = [member for member in group if member.right and usable(member)]
        wrong = [member for member in group if not member.right and usable(member)]
        if not right or not wrong or taken == problems:
            continue
        half = rollouts - rollouts // 2
        kept = wrong[: max(half, rollouts - len(right))]
        chosen += [*kept, *right[: rollouts - len(kept)]]
        taken += 1
    return chosen
