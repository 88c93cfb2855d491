r"""How a run's answers are marked and graded: one record, for prompts, rewards, references and evaluations alike.

>>> tags = Grading(answer_format="tags")
>>> tags.is_right("<answer>0.5</answer>", r"\frac12"), tags.is_right(r"\boxed{0.5}", r"\frac12")
(True, False)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from cepo.answers.extract import ANSWER_INSTRUCTIONS, AnswerFormat, extract_answer, follows_format
from cepo.answers.verdict import BATCH_BUDGET_S, Grader, Verdict, grade_many, same_answer, why_not_gradable
from cepo.errors import SettingError, did_you_mean

__all__ = ["BOXED", "Grading"]

_TRL_READS: tuple[AnswerFormat, ...] = ("boxed", "auto")
_MARKS: dict[AnswerFormat, tuple[str, ...]] = {
    "boxed": ("\\boxed",),
    "tags": ("<answer>",),
    "phrase": ("the answer is",),
    "auto": ("\\boxed", "<answer>", "the answer is"),
}
"""What a prompt that asks for a format holds, lower case."""
_COMPLETIONS: dict[AnswerFormat, tuple[str, str]] = {
    "boxed": ("\\boxed{", "}"),
    "tags": ("<answer>", "</answer>"),
    "phrase": ("The answer is ", ""),
    "auto": ("\\boxed{", "}"),
}


@dataclass(frozen=True, slots=True)
class Grading:
    """Where a completion's answer stands, and who says whether it is right.

    Attributes:
        answer_format: `boxed`, `tags`, `phrase` or `auto`, see docs/grader.md.
        grader: `cepo`, or `math_verify`, which is TRL's accuracy reward: it finds the answer by itself, and a bare
            gold answer is put between dollar signs for it. r- is extracted as `answer_format` says even so.
        thinking_counts: whether an answer inside of `<think>` counts.

    Raises:
        SettingError: a word that is none of these, or a format that TRL's grader does not read.
    """

    answer_format: AnswerFormat = "boxed"
    grader: Grader = "cepo"
    thinking_counts: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("answer_format", self.answer_format, get_args(AnswerFormat)),
            ("grader", self.grader, get_args(Grader)),
        ):
            if value not in known:
                listed = f"choose from {', '.join(known)}{did_you_mean(str(value), known)}"
                raise SettingError(f"unknown {name} {value!r}; {listed}")
        if not isinstance(self.thinking_counts, bool):
            raise SettingError(f"thinking_counts must be true or false, got {self.thinking_counts!r}")
        if self.grader == "math_verify" and self.answer_format not in _TRL_READS:
            raise SettingError(
                f"grader='math_verify' reads boxes and formulas alone, answer_format={self.answer_format!r} asks for "
                "something else, and every answer would be wrong: use grader='cepo', or answer_format='boxed'"
            )

    @property
    def instruction(self) -> str:
        """The sentence that asks for the format, for prompts."""
        return ANSWER_INSTRUCTIONS[self.answer_format]

    def is_asked_in(self, text: str) -> bool:
        """Whether a prompt's text speaks of the format by itself."""
        return any(mark in text.lower() for mark in _MARKS[self.answer_format])

    def completion(self, answer: object) -> str:
        """The shortest completion that gives `answer` in the format."""
        before, after = _COMPLETIONS[self.answer_format]
        return f"{before}{answer}{after}"

    def extract(self, text: str) -> str | None:
        """What a completion answers; None where it does not."""
        return extract_answer(text, self.answer_format, thinking_counts=self.thinking_counts)

    def follows(self, text: str) -> bool:
        """Whether a completion marks one answer as asked, and says no more after it."""
        return follows_format(text, self.answer_format, thinking_counts=self.thinking_counts)

    def verdicts(self, texts: Sequence[str], golds: Sequence[str], budget_s: float = BATCH_BUDGET_S) -> list[Verdict]:
        """The verdicts on a batch of completions, in order; `budget_s` bounds its open questions together.

        Raises:
            ValueError: as many golds as completions are needed.
            GraderUnavailable: math-verify is needed and cannot start.
        """
        if self.grader == "math_verify":
            golds = [gold if "$" in gold or "\\boxed" in gold else f"${gold}$" for gold in golds]
        return grade_many(
            texts,
            golds,
            answer_format=self.answer_format,
            grader=self.grader,
            thinking_counts=self.thinking_counts,
            budget_s=budget_s,
        )

    def is_right(self, text: str, gold: str) -> bool:
        """The verdict on one completion; False also where time ran out."""
        return bool(self.verdicts([text], [gold])[0].same)

    def why_not_gradable(self, answer: object) -> str | None:
        """One clause that says why `answer` cannot be a gold answer in this format; None where it can."""
        if reason := why_not_gradable(answer):
            return reason
        text = str(answer).strip()
        read = extract_answer(self.completion(text), self.answer_format)
        if read == text or same_answer(read, text):
            return None
        return f"answer_format={self.answer_format!r} reads {read!r} where it stands ({self.completion(text)!r})"


BOXED = Grading()
"""The default: the last box, by our own grader."""
