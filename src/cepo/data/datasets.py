"""Any training or evaluation data as one kind of `datasets.Dataset`, checked to the last row before use.

Columns: `prompt` (messages), `images` (PIL images, decoded when read; absent where no row has one), `answer`
(text that the grader accepts), `id`, and `solution`, `family`, `chain` (a chain in short, for `cepo.chain`),
`teacher_prompt` and `teacher_images` where the data have them. Other columns are left behind. Understood are TRL's
conversational rows, plain questions, and Geometry3K's `<image>` marks.

Left out on purpose: streaming, for every row is checked before a run; video and audio; the place of an image
between two pieces of text, which TRL does not keep either.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from datasets import Dataset, Features, Image, List, Value
from datasets.arrow_writer import ArrowWriter

from cepo.answers import Grading
from cepo.data.images import encode_image
from cepo.data.messages import prompt_messages
from cepo.data.sources import DataSpec, Source, open_source
from cepo.data.temporary import temporary_folder
from cepo.data.texts import check_writable
from cepo.errors import DataError, did_you_mean
from cepo.glossary import DataRow

__all__ = ["SPELLINGS", "DataSpec", "load_data"]

SPELLINGS: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "problem", "question"),
    "images": ("images", "image"),
    "answer": ("answer",),
    "solution": ("solution",),
    "family": ("family",),
    "chain": ("chain",),
    "teacher_prompt": ("teacher_prompt",),
    "teacher_images": ("teacher_images",),
    "id": ("id",),
}
"""Our column -> the names under which it is found, and by which `DataSpec.columns` may speak of it."""

_FEATURES = {
    "prompt": List({"role": Value("string"), "content": Value("string")}),
    "images": List(Image(mode="RGB")),
    "answer": Value("string"),
    "solution": Value("string"),
    "family": Value("string"),
    "chain": Value("string"),
    "teacher_prompt": List({"role": Value("string"), "content": Value("string")}),
    "teacher_images": List(Image(mode="RGB")),
    "id": Value("string"),
}
_SHOWN = 5
_ROWS_IN_MEMORY = 64

_log = logging.getLogger(__name__)


def load_data(spec: DataSpec) -> Dataset:
    """Load, check and convert the data that `spec` names.

    Every problem of every row is found before any is reported. The rows are written to a temporary folder
    (TMPDIR) and mapped from there, so that memory does not grow with the images; the folder goes when the
    process ends. Without an `id` of its own a row is `<path>/<split>/<row>`, rows counted from 0.

    Raises:
        DataError: no such data, no column for the prompt or the answer, rows that cannot be used (unless
            `spec.drop_invalid`), or no row left.
        GraderUnavailable: math-verify cannot start.
    """
    source = open_source(spec)
    if not len(source.rows):
        raise DataError(f"{source.name} has no rows")
    columns = _resolve_columns(source, spec.columns)
    indices = _sampled(len(source.rows), spec)
    folder = Path(spec.image_root).expanduser() if spec.image_root else source.folder
    faults: dict[int, str] = {}
    repeated: list[str] = []
    rows = _own_ids(_standard_rows(source, indices, columns, folder, faults, spec.grading), source.name, repeated)
    file = _write((row for _, row in rows), columns)
    _report(faults, source.name, len(indices), drop=spec.drop_invalid)
    if repeated:
        _log.warning(
            "%s: %d ids stand for several problems, such as %s: all but the first have an id of their own now. Map the "
            "column that tells them apart (columns: {id: its name}).", source.name, len(repeated), repeated[0],
        )  # fmt: skip
    dataset = Dataset.from_file(str(file))
    if "images" in columns and not _any_image(dataset):
        dataset = dataset.remove_columns("images")
    return dataset


def _sampled(available: int, spec: DataSpec) -> list[int]:
    if spec.limit is None or spec.limit >= available:
        return list(range(available))
    return sorted(Random(spec.seed).sample(range(available), spec.limit))


def _resolve_columns(source: Source, mapping: Mapping[str, str]) -> dict[str, str]:
    """Our column -> the source's column: first what `mapping` says, then what is there by name.

    A column that `mapping` takes for one purpose is not taken for another one by its name.
    """
    has = f"{source.name} has the columns {', '.join(source.columns) or '(none)'}"
    columns = _mapped_columns(source, mapping, has)
    free = [name for name in source.columns if name not in columns.values()]
    for ours, spellings in SPELLINGS.items():
        found = [] if ours in columns else [name for name in spellings if name in free]
        if len(found) > 1:
            raise DataError(f"{has}: say with `columns` which of {' and '.join(found)} is the {ours}")
        if found:
            columns[ours] = found[0]
    for ours in ("prompt", "answer"):
        if ours not in columns:
            near = did_you_mean(ours, source.columns) or "."
            raise DataError(f"no column for the {ours}: {has}{near} Name it: columns: {{{ours}: <its name>}}")
    return columns


def _mapped_columns(source: Source, mapping: Mapping[str, str], has: str) -> dict[str, str]:
    columns: dict[str, str] = {}
    for spelling, theirs in mapping.items():
        ours = next((name for name, known in SPELLINGS.items() if spelling in known), None)
        if ours is None:
            known = ", ".join(name for names in SPELLINGS.values() for name in names)
            raise DataError(f"columns maps {spelling!r}, which is no column of ours: {known}")
        if theirs not in source.columns:
            raise DataError(f"columns maps {spelling} to {theirs!r}; {has}{did_you_mean(theirs, source.columns)}")
        if ours in columns:
            raise DataError(f"columns maps {ours} twice, to {columns[ours]!r} and to {theirs!r}: keep one")
        columns[ours] = theirs
    return columns


def _standard_rows(
    source: Source,
    indices: Sequence[int],
    columns: Mapping[str, str],
    folder: Path | None,
    faults: dict[int, str],
    grading: Grading,
) -> Iterator[tuple[int, DataRow]]:
    """The rows that can be used with their index, in order; why the others cannot goes into `faults`."""
    theirs = sorted(set(columns.values()))
    for index, row in zip(indices, source.read(indices, theirs), strict=True):
        try:
            standard = _standard_row(row, columns, folder, f"{source.name}/{index}", grading)
            for name in standard.keys() - {"images", "teacher_images"}:
                check_writable(standard[name], name)
            yield index, standard
        except ValueError as error:
            faults[index] = str(error)


def _own_ids(rows: Iterator[tuple[int, DataRow]], source: str, repeated: list[str]) -> Iterator[tuple[int, DataRow]]:
    """The rows, of which no two problems have one id: records, images and intervals are kept by it.

    An id that stands for another problem already goes into `repeated`, and its row is `<source>/<row>`.
    """
    known: dict[str, str] = {}
    for index, row in rows:
        content = hashlib.sha256(repr([row.get(name) for name in ("prompt", "images", "answer")]).encode()).hexdigest()
        if known.setdefault(row["id"], content) != content:
            repeated.append(f"{row['id']!r} (row {index})")
            row = {**row, "id": f"{source}/{index}"}
        yield index, row


def _standard_row(
    row: DataRow, columns: Mapping[str, str], folder: Path | None, default_id: str, grading: Grading
) -> DataRow:
    given = {ours: row.get(theirs) for ours, theirs in columns.items()}
    answer = given["answer"]
    if why := grading.why_not_gradable(answer):
        raise DataError(f"answer {answer!r:.80}: {why}")
    if "####" in str(answer):
        raise DataError(f"answer {answer!r:.80}: this is GSM8K's solution, the answer is what follows its ####")
    images = [encode_image(value, folder) for value in _listed(given.get("images"))]
    standard: dict[str, Any] = {
        "prompt": prompt_messages(given["prompt"], len(images), grading),
        "answer": str(answer).strip(),
        "id": default_id if given.get("id") is None else str(given["id"]),
    }
    if "images" in given:
        standard["images"] = images
    for name in ("solution", "family", "chain"):
        if name in given:
            standard[name] = None if given[name] is None else str(given[name])
    return {**standard, **_of_teachers(given, standard, folder, grading)}


def _of_teachers(given: DataRow, standard: Mapping[str, Any], folder: Path | None, grading: Grading) -> DataRow:
    """What the row shows its teachers: images, and a prompt, of which a text stands for the last user turn's words."""
    own: dict[str, Any] = {}
    if missing := [name for name in ("teacher_prompt", "teacher_images") if name in given and given[name] is None]:
        raise DataError(f"it has no {missing[0]}, which other rows have")
    if "teacher_images" in given:
        own["teacher_images"] = [encode_image(value, folder) for value in _listed(given["teacher_images"])]
    if "teacher_prompt" in given:
        images = own.get("teacher_images", standard.get("images", []))
        asked = prompt_messages(given["teacher_prompt"], len(images), grading)
        own["teacher_prompt"] = (
            [*standard["prompt"][:-1], *asked] if isinstance(given["teacher_prompt"], str) else asked
        )
    return own


def _listed(images: object) -> list[object]:
    """A row's images; one image needs no list, and None, "" and [] are no image."""
    if isinstance(images, list | tuple):
        return list(images)
    return [] if images is None or images == "" else [images]


def _write(rows: Iterator[DataRow], columns: Mapping[str, str]) -> Path:
    """Write `rows` to an Arrow file in a temporary folder that goes when the process ends."""
    folder = temporary_folder("cepo-data-")
    file = folder / "rows.arrow"
    features = Features({name: kind for name, kind in _FEATURES.items() if name in columns or name == "id"})
    try:
        with ArrowWriter(path=str(file), features=features, writer_batch_size=_ROWS_IN_MEMORY) as writer:
            for row in rows:
                writer.write(dict(row))
            writer.finalize()
    except OSError as error:
        free = shutil.disk_usage(folder).free / 2**20
        raise DataError(
            f"cannot write the rows to the temporary folder {folder} ({error.strerror or error}; {free:.0f} MiB are "
            "free there): set TMPDIR to a folder with more space"
        ) from error
    return file


def _report(faults: Mapping[int, str], name: str, total: int, *, drop: bool) -> None:
    if not faults:
        return
    shown = [f"  row {index}: {fault}" for index, fault in list(faults.items())[:_SHOWN]]
    if len(faults) > _SHOWN:
        shown.append(f"  and {len(faults) - _SHOWN} more")
    rows = "\n".join(shown)
    if len(faults) == total:
        raise DataError(f"{name}: none of the {total} rows can be used (rows count from 0):\n{rows}")
    message = f"{name}: {len(faults)} of {total} rows cannot be used (rows count from 0):\n{rows}"
    if not drop:
        raise DataError(f"{message}\nRepair them, or leave them out with drop_invalid: true.")
    _log.warning("%s\nThey are left out; %d rows remain.", message, total - len(faults))


def _any_image(dataset: Dataset) -> bool:
    chunks = dataset.data.column("images").chunks
    return any(len(chunk.flatten()) for chunk in chunks)  # counts, reads no image
