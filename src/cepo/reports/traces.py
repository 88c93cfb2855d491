"""Credit records: what every token of a rollout was credited with, one JSON object per line.

A trace is a folder with `credit.jsonl` and `images/`. The first line is a header with the schema's version;
every other line is a record, or the one note that says that recording stopped. Strict JSON: numbers that are
not finite are the strings "nan", "inf" and "-inf"; text is ASCII with escapes, so that a token that is half
a character (a lone surrogate) survives. No torch, so that reports open anywhere.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from PIL import Image

from cepo._version import __version__

__all__ = ["SCHEMA", "TRACE_FILE", "CreditRecord", "TraceWriter", "read_traces"]

SCHEMA = 1
"""Version of the record format. It grows when a reader of the version before would misread a file."""

TRACE_FILE = "credit.jsonl"
_HEADER, _RECORD, _NOTE = "header", "record", "note"
_NOTE_BYTES = 300  # room kept for the note, which is shorter


@dataclass(frozen=True, slots=True)
class CreditRecord:
    """One rollout and its credit. Lists have one entry per completion token.

    Attributes:
        step: optimiser step, from 1.
        problem_id: the data set's id of the problem.
        row, group: global row index of the rollout and group index of its problem, within the step.
        method: name of the method that assigned the credit.
        prompt_text: the student's prompt as the model read it.
        image: path of the problem's image, relative to the trace's folder; None: no image.
        tokens, token_ids: the completion; a token's text may be half a character.
        logp_student, logp_plus, logp_minus: log-probs under P_S, P+ and P-, in nats; None: not scored.
        evidence: Delta_t, in nats; weight: w_t after clipping; None: the method has none.
        advantage: A_hat_t, or one number where all tokens have the same.
        base_advantage: A of the rollout, before credit.
        reward: total reward; correct: the grader's verdict (None: no gold answer).
        answer, gold: extracted answer and gold answer; None: there is none.
        r_plus, r_minus: the references that the teachers were told.
        plus_source, minus_source: `cepo.glossary.PlusSource` and `MinusSource`.
        strength: lambda at this step; clip: eps_w.
    """

    step: int
    problem_id: str
    row: int
    group: int
    method: str
    prompt_text: str
    tokens: list[str]
    token_ids: list[int]
    advantage: list[float] | float
    base_advantage: float
    reward: float
    image: str | None = None
    logp_student: list[float] | None = None
    logp_plus: list[float] | None = None
    logp_minus: list[float] | None = None
    evidence: list[float] | None = None
    weight: list[float] | None = None
    correct: bool | None = None
    answer: str | None = None
    gold: str | None = None
    r_plus: str | None = None
    r_minus: tuple[str, ...] = ()
    plus_source: str = "none"
    minus_source: str = "unused"
    strength: float = 0.0
    clip: float = 0.0

    def __post_init__(self) -> None:
        for name in _PER_TOKEN:
            values = getattr(self, name)
            if isinstance(values, list) and len(values) != len(self.tokens):
                raise ValueError(
                    f"record of step {self.step}, row {self.row}: {name} has {len(values)} entries for "
                    f"{len(self.tokens)} tokens"
                )


_PER_TOKEN = ("token_ids", "logp_student", "logp_plus", "logp_minus", "evidence", "weight", "advantage")
_NUMBERS = (*_PER_TOKEN[1:], "base_advantage", "reward", "strength", "clip")


class TraceWriter:
    """Appends the records of a run, step by step, and never stops a training run.

    A step is written whole or not at all, then flushed. When a step would take the folder over `max_bytes`
    a note is written and recording ends. When the disk refuses, recording ends with one warning.

    Args:
        folder: of the trace; made if need be.
        resume_step: records of later steps, left by a run that was killed, are dropped. 0 starts afresh: a
            trace that is already there is kept beside it as `credit.old.jsonl`, in place of an earlier one.
        max_bytes: bound on the file and the images together.
        decimals: of every number.

    Raises:
        ValueError: a bound too small for header and note, or a trace to resume that a newer cepo wrote.
    """

    def __init__(
        self, folder: str | Path, *, resume_step: int = 0, max_bytes: int = 256 * 2**20, decimals: int = 5
    ) -> None:
        if max_bytes < 2 * _NOTE_BYTES:
            raise ValueError(f"max_bytes must be at least {2 * _NOTE_BYTES}, got {max_bytes}")
        self.folder = Path(folder)
        self.path = self.folder / TRACE_FILE
        self.active = True
        self._max_bytes, self._decimals, self._used = max_bytes, decimals, 0
        self._names: dict[str, str] = {}
        try:
            (self.folder / "images").mkdir(parents=True, exist_ok=True)
            lines = _lines_until(self.path, resume_step) if resume_step and self.path.is_file() else []
            if not resume_step and self.path.is_file():
                os.replace(self.path, self.path.with_name("credit.old.jsonl"))
            self._start(lines or [_line({"kind": _HEADER, "schema": SCHEMA, "cepo": __version__})])
        except OSError as error:
            self._give_up(error)

    def _start(self, lines: list[str]) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(lines), encoding="ascii")
        os.replace(partial, self.path)  # a kill during the rewrite leaves the old file whole
        images = (file.stat().st_size for file in (self.folder / "images").iterdir())
        self._used = self.path.stat().st_size + sum(images)

    def write_step(self, records: Sequence[CreditRecord], images: Sequence[Image.Image | None] | None = None) -> None:
        """Append the records of one step.

        `images` are their problems' images: each is stored once, and its path becomes the record's `image`.
        A problem is known by its id and keeps the first image that it comes with.

        Raises:
            ValueError: not as many images as records.
        """
        if images is not None and len(images) != len(records):
            raise ValueError(f"{len(images)} images for {len(records)} records: pass one or None for each")
        if not self.active or not records:
            return
        records, pictures = (records, {}) if images is None else self._with_images(records, images)
        lines = [_line(_encoded(record, self._decimals)) for record in records]
        try:
            self._append(lines, pictures, records[0].step)
        except OSError as error:
            self._give_up(error)

    def _with_images(
        self, records: Sequence[CreditRecord], images: Sequence[Image.Image | None]
    ) -> tuple[list[CreditRecord], dict[str, Image.Image]]:
        """Records that name their image's file, and the images by that name."""
        named, pictures = [], {}
        for record, image in zip(records, images, strict=True):
            name = None
            if image is not None:
                name = self._names.get(record.problem_id) or _image_name(image)
                self._names[record.problem_id] = name  # so that G rollouts cost one hash
                pictures[name] = image
            named.append(replace(record, image=name))
        return named, pictures

    def _append(self, lines: list[str], pictures: dict[str, Image.Image], step: int) -> None:
        new = {name: _png(image) for name, image in pictures.items() if not (self.folder / name).exists()}
        size = sum(map(len, lines)) + sum(map(len, new.values()))
        if self._used + size > self._max_bytes - _NOTE_BYTES:
            self.active = False
            text = f"recording stopped before step {step}: the bound of {self._max_bytes} bytes was reached"
            new, lines, size = {}, [_line({"kind": _NOTE, "text": text})], 0
        for name, data in new.items():
            (self.folder / name).write_bytes(data)
        with self.path.open("a", encoding="ascii") as file:
            file.write("".join(lines))
        self._used += size

    def _give_up(self, error: OSError) -> None:
        self.active = False
        warnings.warn(f"credit traces end here, {self.path} cannot be written: {error}", stacklevel=3)


def read_traces(path: str | Path, *, damaged: Callable[[str], None] | None = None) -> Iterator[CreditRecord]:
    """The records of a trace (its folder or its file), in the order of writing.

    Warns of a last line that a killed run left unfinished, which is skipped, and of a recording that stopped.

    Args:
        path: of the trace.
        damaged: takes the description of a damaged line, which is then skipped; None: such a line is an error.

    Raises:
        FileNotFoundError: no such trace.
        ValueError: not a trace, a trace of a newer cepo, or a damaged line.
    """
    file = Path(path) / TRACE_FILE if Path(path).is_dir() else Path(path)
    for number, line, content in _parsed(file, damaged):
        if content["kind"] == _NOTE:
            warnings.warn(f"{file}: {content['text']}", stacklevel=2)
        elif content["kind"] == _RECORD:
            try:
                yield _decoded(content, f"{file}, line {number}: {line:.60}")
            except ValueError as error:
                if damaged is None:
                    raise
                damaged(str(error))


def _lines_until(path: Path, step: int) -> list[str]:
    """The header and the records of at most `step`."""
    return [
        line
        for _, line, content in _parsed(path)
        if content["kind"] == _HEADER or (content["kind"] == _RECORD and content["step"] <= step)
    ]


def _parsed(path: Path, damaged: Callable[[str], None] | None = None) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Line number, line and content of every whole line; the header is checked first."""
    with path.open(encoding="ascii", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            content = _content(line)
            if number == 1:
                _check_header(content, path)
            if content is None and not line.endswith("\n"):
                warnings.warn(f"{path}: the unfinished last line {number} is left out", stacklevel=3)
            elif content is None:
                what = f"{path}, line {number} is damaged: {line:.80}"
                if damaged is None:
                    raise ValueError(what)
                damaged(what)
            else:
                yield number, line if line.endswith("\n") else f"{line}\n", content


def _content(line: str) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) and "kind" in content else None


def _check_header(content: dict[str, Any] | None, path: Path) -> None:
    if content is None or content["kind"] != _HEADER or not isinstance(content.get("schema"), int):
        raise ValueError(f"{path} is not a credit trace: its first line is not the header")
    if content["schema"] > SCHEMA:
        raise ValueError(
            f"{path} has schema {content['schema']}, written by cepo {content.get('cepo')}; this is cepo "
            f"{__version__}, which reads schemas up to {SCHEMA}: upgrade cepo"
        )


def _encoded(record: CreditRecord, decimals: int) -> dict[str, Any]:
    content = {"kind": _RECORD} | {field.name: getattr(record, field.name) for field in fields(record)}
    return content | {name: _rounded(content[name], decimals) for name in _NUMBERS}


def _rounded(value: Any, decimals: int) -> Any:
    if isinstance(value, list):
        return [round(v, decimals) if math.isfinite(v) else str(float(v)) for v in value]
    if value is None:
        return None
    return round(float(value), decimals) if math.isfinite(value) else str(float(value))


def _decoded(content: dict[str, Any], where: str) -> CreditRecord:
    given = {name: value for name, value in content.items() if name != "kind"}
    expected = {field.name for field in fields(CreditRecord)}
    if given.keys() != expected:
        raise ValueError(f"{where}: fields missing or unknown: {sorted(given.keys() ^ expected)}")
    try:
        given |= {name: _number(given[name]) for name in _NUMBERS}
        given["r_minus"] = tuple(given["r_minus"])
        return CreditRecord(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [float(entry) for entry in value]
    return None if value is None else float(value)


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")) + "\n"


def _image_name(image: Image.Image) -> str:
    digest = hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()
    return f"images/{digest[:16]}.png"


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="PNG")
    return buffer.getvalue()
