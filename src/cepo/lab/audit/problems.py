"""What is audited: problems with their prompts and, where the data has labels, labelled worked solutions.

Geometry, chains and figures carry their labels. A .jsonl or .json file carries them in a column `markup`: the worked
solution with `[...]` around what decides the answer, as in `cepo.geometry.worked`; `wrong_markups` may list solutions
that go wrong. All other data has no labels, and is audited by Monte-Carlo values and null references alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from random import Random
from typing import cast

from cepo.answers import extract_answer, same_answer
from cepo.chain.problems import Chain, ChainSpec, is_chain
from cepo.chain.solver import Stepped
from cepo.data.datasets import load_data
from cepo.data.sources import GEOMETRY, DataSpec, open_source
from cepo.errors import DataError
from cepo.figures.problems import FIGURES, Figure
from cepo.geometry.problems import Split, drafts, work_wrongly
from cepo.geometry.worked import parse_markup
from cepo.glossary import Span
from cepo.lab.audit.chains import label_steps, wrong_figure_solutions, wrong_solutions
from cepo.lab.audit.grammar import parse_equations, parse_geometry, right_paths
from cepo.lab.audit.labels import Labels, label_text, path_of

__all__ = ["AuditProblem", "Given", "Solution", "load_problems"]

MARKUP, WRONG_MARKUPS = "markup", "wrong_markups"
Row = Mapping[str, object]
"""A row of `load_data`."""
Marked = tuple[str, tuple[Span, ...]]
"""A text and the spans that partition it."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A worked solution with its labels."""

    text: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class Given:
    """A completion that exists already; `where`: the file and line that it came from, for messages."""

    text: str
    where: str


@dataclass(frozen=True, slots=True)
class AuditProblem:
    """One problem.

    `row` is a row of `load_data`. `worked`: labelled worked solutions, the right one first; empty without
    labels. `label` labels any text of this problem, None where the text does not parse; None: no labels here.
    `given`: completions that are audited; empty: they are sampled.
    """

    row: Row
    worked: tuple[Solution, ...] = ()
    label: Callable[[str], Labels | None] | None = None
    given: tuple[Given, ...] = ()

    @property
    def gold(self) -> str:
        return str(self.row["answer"])

    @property
    def solution(self) -> str | None:
        solution = self.row.get("solution")
        return None if solution is None else str(solution)


def load_problems(spec: DataSpec, wrong: int) -> list[AuditProblem]:
    """The problems that `spec` names, each with up to `wrong` wrong worked solutions.

    Raises:
        DataError: the data cannot be used, or its markup does not match its answers.
    """
    rows: list[Row] = [dict(row) for row in cast(Iterable[Row], load_data(spec))]
    if spec.path == GEOMETRY:
        return _geometry(rows, spec, wrong)
    if is_chain(spec.path):
        fillers = ChainSpec.parse(spec.path).fillers
        return [_stepped(row, *_chain(row, fillers, wrong)) for row in rows]
    if spec.path == FIGURES:
        return [_stepped(row, *_figure(row, wrong)) for row in rows]
    marked = _markups(spec)
    if not marked:
        return [AuditProblem(row) for row in rows]
    if missing := [str(row["id"]) for row in rows if row["id"] not in marked]:
        raise DataError(f"{spec.path}: rows without {MARKUP}: {', '.join(missing[:5])}; label every row or none")
    return [_marked_problem(row, *marked[str(row["id"])][: 1 + wrong]) for row in rows]


def _geometry(rows: Sequence[Row], spec: DataSpec, wrong: int) -> list[AuditProblem]:
    found = []
    stream = drafts(cast(Split, spec.split), spec.seed, spec.families)
    for row, draft in zip(rows, islice(stream, len(rows)), strict=True):
        rng = Random(f"wrong/{row['id']}")
        paths = right_paths(draft)
        worked = [draft.work(), *(work_wrongly(draft, rng) for _ in range(wrong))]
        solutions = tuple(_solution((w.text, w.spans), paths) for w in worked)
        if solutions[0].text != row["solution"]:
            raise RuntimeError(f"{row['id']}: the draft is not of this row; generate() has changed its order")
        parse = partial(parse_geometry, draft.family)
        found.append(AuditProblem(row, solutions, partial(label_text, parse=parse, right_paths=paths)))
    return found


def _chain(row: Row, fillers: int, wrong: int) -> tuple[Stepped, list[str]]:
    chain = Chain.parse(str(row["chain"]))
    return chain, wrong_solutions(chain, fillers, wrong, Random(f"wrong/{row['id']}"))


def _figure(row: Row, wrong: int) -> tuple[Stepped, list[str]]:
    figure = Figure.parse(str(row["chain"]))
    return figure, wrong_figure_solutions(figure, wrong, Random(f"wrong/{row['id']}"))


def _stepped(row: Row, steps: Stepped, wrong: Sequence[str]) -> AuditProblem:
    """A problem of dependent steps, with its wrong solutions."""
    label = partial(label_steps, steps)
    texts = [str(row["solution"]), *wrong]
    worked = tuple(Solution(text, labels) for text in texts if (labels := label(text)) is not None)
    return AuditProblem(row, worked, label)


def _solution(marked: Marked, paths: frozenset[tuple[str, ...]]) -> Solution:
    text, spans = marked
    labels = label_text(text, lambda _: spans, paths)
    assert labels is not None
    return Solution(text, labels)


def _marked_problem(row: Row, gold: Marked, *wrong: Marked) -> AuditProblem:
    """A problem of a labelled file; its rollouts are labelled where its own solution parses as it is labelled."""
    answer = str(row["answer"])
    if not same_answer(extract_answer(gold[0]), answer):
        raise DataError(f"{row['id']}: {MARKUP} boxes {extract_answer(gold[0])!r}, the answer is {answer!r}")
    for text, _ in wrong:
        if same_answer(extract_answer(text), answer):
            raise DataError(f"{row['id']}: {WRONG_MARKUPS} holds a solution that is right: {text[:80]!r}")
    paths = frozenset({path_of(*gold)})
    label = partial(label_text, parse=parse_equations, right_paths=paths)
    parses = parse_equations(gold[0]) == gold[1]
    row = {**row, "solution": gold[0]}
    return AuditProblem(row, tuple(_solution(m, paths) for m in (gold, *wrong)), label if parses else None)


def _markups(spec: DataSpec) -> dict[str, list[Marked]]:
    """Row id -> its marked solutions, the right one first; empty where the data has no such column."""
    source = open_source(spec)
    if MARKUP not in source.columns:
        return {}
    if "id" not in source.columns:
        raise DataError(f"{source.name} has a column {MARKUP} and no column id: labels are matched to rows by id")
    columns = ["id", *(name for name in (MARKUP, WRONG_MARKUPS) if name in source.columns)]
    found = {}
    for row in source.read(range(len(source.rows)), columns):
        if row.get(MARKUP) is None:
            continue
        try:
            found[str(row["id"])] = [parse_markup(text) for text in (row[MARKUP], *(row.get(WRONG_MARKUPS) or ()))]
        except (TypeError, ValueError) as error:
            raise DataError(f"{source.name}, id {row['id']!r}: {error}") from None
    return found
