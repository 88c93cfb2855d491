"""Where data comes from: procedural geometry, chains or figures, one file, a folder, or the Hugging Face hub.

JSON and CSV are read here and not by `datasets`, whose readers guess types (an answer "007" becomes 7) and
report a bad line as a chain of five exceptions.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from datasets import Dataset, DatasetDict, Features, Image, List, load_dataset, load_from_disk

from cepo.answers import BOXED, Grading
from cepo.chain.problems import ChainSpec, is_chain
from cepo.chain.problems import generate as generate_chains
from cepo.data.rows import chain_row, figure_row, problem_row
from cepo.data.texts import typed
from cepo.errors import DataError, did_you_mean
from cepo.figures.problems import FIGURES
from cepo.figures.problems import generate as generate_figures
from cepo.geometry import FAMILIES, SPLITS, generate
from cepo.glossary import DataRow

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["GEOMETRY", "DataSpec", "Source", "is_procedural", "open_source"]

GEOMETRY = "geometry"
"""The path that means procedural problems."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WHOLE = "train"
"""The split that data without splits is."""
_BATCH = 64
"""Rows, with their encoded images, in memory at a time."""
_PARQUET_ADVICE = "Is each of its files a whole Parquet file?"


def is_procedural(path: str) -> bool:
    """Whether a data path means problems that are made here, whose ids are `<what is asked>#<number>`."""
    return path in (GEOMETRY, FIGURES) or is_chain(path)


@dataclass(frozen=True, slots=True)
class DataSpec:
    """Which data to load.

    Attributes:
        path: `geometry`, `figures`, `chain` or `chain:steps=4,fillers=3` (`cepo.chain.ChainSpec`), a
            .jsonl/.json/.parquet/.csv file, a folder (of `save_to_disk`, with a file for each split such as
            train.jsonl, or with Parquet files as on the hub), or a hub id such as `hiyouga/geometry3k`.
        split: `train`, `validation` or `held_out` for problems made here; the data's own name elsewhere. One file has
            no splits, it is `train`.
        subset: configuration of a hub data set that has several.
        limit: rows to use, drawn without replacement by `seed` and kept in order, for a file's head is
            seldom a fair sample. Problems made here make exactly so many and require it. None: all rows.
        seed: of the draw; where they are made here, of the problems.
        families: geometry only: these families in turn; None: all.
        columns: our name -> the data's column, e.g. `{"problem": "question_text"}`.
        image_root: where relative image paths start; None: the folder of the data file.
        drop_invalid: leave out rows that cannot be used, and say how many; else they are an error.
        grading: the answers' format: prompts ask for it, and gold answers can be given in it.
    """

    path: str
    split: str = "train"
    subset: str | None = None
    limit: int | None = None
    seed: int = 0
    families: Sequence[str] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    image_root: str | None = None
    drop_invalid: bool = False
    grading: Grading = BOXED

    def __post_init__(self) -> None:
        if not self.path:
            raise DataError("no data: the path is empty; name `geometry`, a file, a folder or a hub data set")
        if self.limit is not None and self.limit < 1:
            raise DataError(f"limit must be at least 1, got {self.limit}; leave it out to take all rows")
        foreign: dict[str, object] = {} if self.path == GEOMETRY else {"families": self.families}
        if is_procedural(self.path):
            foreign |= {"columns": self.columns, "image_root": self.image_root, "subset": self.subset}
        for name, value in foreign.items():
            if value:
                raise DataError(f"{name}={value!r} does not go with the data {self.path!r}: leave it out")


@dataclass(frozen=True, slots=True)
class Source:
    """Rows as they are stored: images undecoded, columns under the data's own names.

    `folder` is where relative image paths start; None where there is no such place (the hub).
    """

    name: str
    rows: Sequence[DataRow] | Dataset
    columns: tuple[str, ...]
    folder: Path | None

    def read(self, indices: Sequence[int], columns: Sequence[str]) -> Iterator[DataRow]:
        """The rows at `indices`, reading no other column than `columns` from disk."""
        if not isinstance(self.rows, Dataset):
            yield from (self.rows[index] for index in indices)
            return
        chosen = self.rows.select_columns(list(columns)).select(indices)
        # Arrow rows decoded by features of our own: to cast the column would copy every image.
        features = Features({name: _undecoded(kind) for name, kind in chosen.features.items()})
        for table in chosen.with_format("arrow").iter(batch_size=_BATCH):
            for row in cast("pa.Table", table).to_pylist():
                yield typed(features.decode_example(row), features)


def open_source(spec: DataSpec) -> Source:
    """Open what `spec.path` names. A folder or a file of that name goes before a hub id.

    Raises:
        DataError: nothing there, an unknown split, a file that cannot be read.
    """
    if spec.path == GEOMETRY:
        return _geometry(spec)
    if is_chain(spec.path):
        return _chains(spec)
    if spec.path == FIGURES:
        return _figures(spec)
    path = Path(spec.path).expanduser()
    if spec.subset and path.exists():
        raise DataError(f"subset={spec.subset!r} is for the hub, {path} is local: name its folder")
    if path.is_dir():
        return _folder(path, spec)
    if path.is_file():
        return _file(path, spec)
    if path.suffix in _READERS or spec.path.startswith(".") or not _HUB_ID.fullmatch(spec.path):
        raise DataError(f"no file or folder {spec.path!r} (looked at {path.absolute()}){_nearest(path)}")
    return _hub(path, spec)


def _geometry(spec: DataSpec) -> Source:
    if spec.limit is None:
        raise DataError("geometry makes as many problems as are asked for: say how many with `limit`")
    if spec.split not in SPLITS:
        raise DataError(f"geometry has no split {spec.split!r}; choose from {', '.join(SPLITS)}")
    unknown = [name for name in spec.families or () if name not in FAMILIES]
    if unknown:
        raise DataError(f"unknown geometry families {unknown}; choose from {', '.join(FAMILIES)}")
    problems = generate(spec.split, spec.limit, spec.seed, spec.families or None)
    # The PNG itself, not the decoded image: a tenth of the memory.
    rows = [{**problem_row(p, spec.grading), "images": [{"bytes": p.image_png, "path": None}]} for p in problems]
    return Source(f"{GEOMETRY}/{spec.split}", rows, tuple(rows[0]), None)


def _chains(spec: DataSpec) -> Source:
    wanted = ChainSpec.parse(spec.path)
    count = spec.limit or wanted.problems
    if count is None:
        raise DataError("chain makes as many problems as are asked for: say how many with `limit`")
    chains = generate_chains(spec.split, wanted, count, spec.seed)
    rows = [chain_row(chain, wanted.fillers, index, spec.grading) for index, chain in enumerate(chains)]
    return Source(f"{spec.path}/{spec.split}", rows, tuple(rows[0]), None)


def _figures(spec: DataSpec) -> Source:
    if spec.limit is None:
        raise DataError("figures makes as many problems as are asked for: say how many with `limit`")
    made = generate_figures(spec.split, spec.limit, spec.seed)
    rows = [figure_row(figure, index, spec.grading) for index, figure in enumerate(made)]
    return Source(f"{FIGURES}/{spec.split}", rows, tuple(rows[0]), None)


def _file(path: Path, spec: DataSpec) -> Source:
    if path.suffix not in _READERS:
        raise DataError(f"cannot read {path}: its ending is none of {', '.join(_READERS)}")
    if spec.split != _WHOLE:
        raise DataError(
            f"{path} is one file and has no split {spec.split!r}: name the file that holds that split, and "
            f"leave split at {_WHOLE!r}"
        )
    return _READERS[path.suffix](path)


def _read_jsonl(path: Path) -> Source:
    rows = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            rows.append(_json(line, f"{path}, line {number}"))
    return _listed(path, rows)


def _read_json(path: Path) -> Source:
    content = _json(_text(path), str(path))
    if not isinstance(content, list):
        raise DataError(f"{path} holds a JSON {type(content).__name__}, not a list of rows")
    return _listed(path, content)


def _read_csv(path: Path) -> Source:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
    rows: list[DataRow] = []
    try:
        with _wide_fields():
            rows.extend(reader)
    except csv.Error as error:
        raise DataError(f"{path} is not valid CSV: {error} (row {len(rows)}, line {reader.line_num})") from None
    for index, row in enumerate(rows):
        if None in row:  # where DictReader keeps the fields that have no column
            raise DataError(f"{path}, row {index}: more fields than the {len(row) - 1} columns of line 1")
    return _listed(path, rows)


@contextmanager
def _wide_fields() -> Iterator[None]:
    """Python's bound of 128 KiB on one field of a CSV file lies below a long solution or an image in base64."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_parquet(path: Path) -> Source:
    dataset = _loaded(lambda: Dataset.from_parquet(str(path)), str(path), _PARQUET_ADVICE)
    return _stored(str(path), dataset, path.parent)


_READERS: dict[str, Callable[[Path], Source]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".csv": _read_csv,
}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _json(text: str, where: str) -> Any:
    try:
        # Numbers stay as they are written: a gold answer 0.50 is not 0.5, and 2**70 is no float.
        return json.loads(text, parse_float=str, parse_int=str)
    except json.JSONDecodeError as error:
        raise DataError(f"{where} is not JSON: {error.msg} at character {error.pos + 1}") from None


def _listed(path: Path, rows: Sequence[DataRow]) -> Source:
    columns: dict[str, None] = {}
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {index}: not an object with named columns: {str(row)[:80]!r}")
        columns |= dict.fromkeys(row)
    return Source(str(path), rows, tuple(columns), path.parent)


def _folder(path: Path, spec: DataSpec) -> Source:
    name = f"{path}/{spec.split}"
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        saved = _loaded(lambda: load_from_disk(str(path)), str(path), "Was `save_to_disk` cut off?")
        return _stored(name, _split_of(saved, path, spec.split), path)
    files = sorted(path.rglob("*.parquet"))
    if not files:
        return _named_after(path, spec.split)
    # The hub's layouts: train-00000-of-00001.parquet, train/0000.parquet, train.parquet.
    chosen = [file for file in files if spec.split in re.split(r"[-/.]", str(file.relative_to(path)))]
    if not chosen:
        names = ", ".join(str(file.relative_to(path)) for file in files[:5])
        raise DataError(f"no Parquet file of folder {path} is named after the split {spec.split!r}: {names}")
    dataset = _loaded(lambda: Dataset.from_parquet([str(file) for file in chosen]), name, _PARQUET_ADVICE)
    return _stored(name, dataset, path)


def _named_after(folder: Path, split: str) -> Source:
    """The file of the folder that is named as the split: train.jsonl, beside test.jsonl."""
    files = sorted(file for file in folder.iterdir() if file.suffix in _READERS)
    found = [file for file in files if file.stem == split]
    if len(found) == 1:
        return _READERS[found[0].suffix](found[0])
    if not files:
        endings = ", ".join(_READERS)
        raise DataError(f"folder {folder} holds neither a `save_to_disk` data set nor files of {endings}")
    names = ", ".join(file.name for file in files[:5])
    which = "two files are" if found else "no file is"
    raise DataError(f"{which} named after the split {split!r} in the folder {folder}: it holds {names}")


def _split_of(saved: Dataset | DatasetDict, path: Path, split: str) -> Dataset:
    if isinstance(saved, DatasetDict):
        if split not in saved:
            raise DataError(f"{path} has no split {split!r}; it has {', '.join(map(str, saved))}")
        return saved[split]
    own = str(saved.split or _WHOLE)
    if split not in (own, _WHOLE):
        raise DataError(f"{path} holds one data set, the split {own!r}, and no {split!r}")
    return saved


def _hub(path: Path, spec: DataSpec) -> Source:
    advice = (
        f"If you meant a local path: {path.absolute()} does not exist. Without network: fetch it elsewhere "
        f"(`hf download {spec.path} --repo-type dataset --local-dir DIR`) and give DIR, or give any "
        f"{'/'.join(_READERS)} file, with `columns` to name its columns, e.g. {{problem: question_text}}."
    )
    what = f"{spec.path} (split {spec.split!r}) from the Hugging Face hub"
    dataset = _loaded(lambda: load_dataset(spec.path, spec.subset, split=spec.split), what, advice)
    return _stored(f"{spec.path}/{spec.split}", dataset, None)


def _loaded(load: Callable[[], Any], what: str, advice: str) -> Any:
    try:
        return load()
    except Exception as error:  # whatever the readers of twenty formats and the network raise
        cause: BaseException = error
        while type(cause).__name__ == "DatasetGenerationError" and cause.__cause__:  # says nothing itself
            cause = cause.__cause__
        reason = " ".join(str(cause).split())[:300]
        raise DataError(f"cannot load {what}: {type(cause).__name__}: {reason}. {advice}") from None


def _stored(name: str, dataset: Dataset, folder: Path | None) -> Source:
    return Source(name, dataset, tuple(dataset.column_names), folder)


def _undecoded(kind: Any) -> Any:
    if isinstance(kind, List):
        return List(_undecoded(kind.feature))
    return Image(decode=False) if isinstance(kind, Image) else kind


def _nearest(path: Path) -> str:
    """A hint at a file of a similar name, or nothing."""
    if not path.parent.is_dir():
        return f": nor is there a folder {path.parent}"
    return did_you_mean(path.name, [child.name for child in path.parent.iterdir()])
