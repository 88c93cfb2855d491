"""What a row's teachers are shown in place of the student's prompt: words, images or a thinking mode of their own.

Columns of the data: `teacher_prompt` (messages, or a text that stands for the words of the last user turn; where the
student's prompt is a string, a string), and `teacher_images`. `teacher_chat_template_kwargs` of the config stands above
the student's own arguments of the chat template.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from datasets import Dataset

from cepo.credit.step import Row, View
from cepo.errors import DataError
from cepo.glossary import DataRow, Prompt
from cepo.trainer.image_columns import image_column, image_counts
from cepo.trainer.prompt_host import PromptHost, Rows, prompt_text, unfilled_images

__all__ = ["COLUMNS", "IMAGES", "PROMPT", "TeacherViews", "check_columns", "refuse_rewritten", "teacher_image_column",
           "teacher_row"]  # fmt: skip

PROMPT, IMAGES = "teacher_prompt", "teacher_images"
COLUMNS = (PROMPT, IMAGES)
SHOWN = 5
_READ = ("prompt", *COLUMNS)


@dataclass(frozen=True, slots=True)
class TeacherViews:
    """How the rows of a run look to teachers.

    Attributes:
        host: makes prompts with the teachers' arguments of the chat template.
        image_token: the text of the model's image placeholder; None: a model without images.
        other_template: whether those arguments are not the student's.
    """

    host: PromptHost
    image_token: str | None = None
    other_template: bool = False

    @classmethod
    def of(
        cls, processor: object, options: Mapping[str, Any], teachers: Mapping[str, Any], image_token: str | None
    ) -> TeacherViews:
        """Of the student's arguments of the chat template, and the teachers' that stand above them."""
        merged = {**options, **teachers}
        return cls(PromptHost(processor, merged), image_token, merged != dict(options))

    def __call__(self, row: DataRow) -> View | None:
        """What the teachers of this row are shown; None: the student's own prompt.

        Raises:
            DataError: the prompt and its images do not fit each other, or its text holds control tokens.
        """
        if not self.other_template and all(row.get(name) is None for name in COLUMNS):
            return None
        own = teacher_row(row)
        if fault := self.fault(row["prompt"], own["prompt"], len(own["images"])):
            raise DataError(f"a row's {PROMPT}: {fault}")
        ids, images = self.host.encoded(own)
        return View(own["prompt"], ids, images)

    def differ(self, columns: Collection[str]) -> bool:
        """Whether teachers are shown anything but the student's prompt, of data with these columns."""
        return self.other_template or any(name in columns for name in COLUMNS)

    def shown(self, rows: Sequence[Row], inputs: Rows) -> list[Row]:
        """The rows with what their teachers are shown; what rows of one group have alike is made once. A `rollout_func`
        may give each row of a group a teacher's prompt of its own."""
        made: dict[int, list[tuple[DataRow, View | None]]] = {}
        shown = []
        for row in rows:
            own, views = inputs[row.index], made.setdefault(row.group, [])
            alike = [view for other, view in views if all(other.get(name) == own.get(name) for name in _READ)]
            if not alike:
                views.append((own, self(own)))
            shown.append(replace(row, view=alike[0] if alike else views[-1][1]))
        return shown

    def fault(self, student: Prompt, teacher: Prompt, images: int) -> str | None:
        """What is wrong with a teacher's prompt of so many images, beside the student's of the same row."""
        asked = unfilled_images(teacher)
        if asked and asked != images:
            return f"it has {asked} image parts, and there are {images} images"
        words, own = prompt_text(teacher), prompt_text(student)
        decoder = self.host.tokenizer.added_tokens_decoder.values()
        special = {token.content for token in decoder if token.special} | {self.image_token or ""}
        strange = sorted(token for token in special - {""} if token in words and token not in own)
        return f"its text holds {strange[0]!r}, a control token, and the student's does not" if strange else None


def refuse_rewritten(rows: Sequence[Row], inputs: Rows, prompt_ids: Callable[[DataRow], Sequence[int]]) -> None:
    """Refuse rows whose student read another prompt than the data set's, which the teacher's is made from.

    `prompt_ids`: of the data set's prompt as the student has it.

    Raises:
        DataError: with the row.
    """
    for row in rows:
        given = inputs[row.index]
        if row.view is not None and given.get(PROMPT) is None and [*prompt_ids(given)] != [*row.prompt_ids]:
            raise DataError(
                f"rollout_func gave row {row.index} another prompt than the data set's, from which its teacher's would "
                f"be made: return {PROMPT!r} beside prompt_ids, or drop teacher_chat_template_kwargs"
            )


def teacher_row(row: DataRow) -> DataRow:
    """The row as its teachers have it: `prompt` and `images`."""
    own, images = row.get(PROMPT), row.get(IMAGES)
    if images is None:
        images = row.get("images") or ([row["image"]] if row.get("image") is not None else [])
    return {"prompt": _worded(row["prompt"], own), "images": list(images)}


def teacher_image_column(dataset: Dataset) -> str | None:
    """Where the images are that a data set shows its teachers; None: it has none."""
    return IMAGES if IMAGES in dataset.column_names else image_column(dataset)


def _worded(prompt: Prompt, own: Prompt | None) -> Prompt:
    """The teacher's prompt; a text takes the place of the words of the student's last turn, whose images stay."""
    if own is None:
        return prompt
    if not isinstance(own, str) or isinstance(prompt, str):
        return own
    *earlier, last = prompt
    content = last["content"]
    if isinstance(content, str):
        return [*earlier, {**last, "content": own}]
    others = [part for part in content if part.get("type") != "text"]
    return [*earlier, {**last, "content": [*others, {"type": "text", "text": own}]}]


def check_columns(dataset: Dataset, views: TeacherViews, sees_images: bool) -> str:
    """The teachers' columns are there in every row, and can be used; what was seen, in a few words.

    Raises:
        DataError: with the rows.
    """
    given = [name for name in COLUMNS if name in dataset.column_names]
    for name in given:
        missing = [index for index, value in enumerate(_is_given(dataset, name)) if not value]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(dataset)} rows have no {name}, such as rows {_listed(missing)}: fill them in, "
                "or drop them; without the column teachers read the student's own"
            )
    if IMAGES in given and (not sees_images or views.image_token is None):
        why = "this model takes no images" if views.image_token is None else "teacher_sees_images=False leaves them out"
        raise DataError(f"the column {IMAGES} has no use: {why}; drop it")
    bad = _faults(dataset, views, given) if given else []
    if bad:
        raise DataError(
            f"{len(bad)} of {len(dataset)} rows have a {PROMPT} that cannot be used: {'; '.join(bad[:SHOWN])}"
        )
    return f"teachers read {' and '.join(given)}" if given else "teachers read the student's prompts"


def _is_given(dataset: Dataset, name: str) -> list[bool]:
    """Row by row, without decoding images."""
    stored = dataset.select_columns([name]).with_format("arrow")
    return [
        bool(value) for batch in stored.iter(batch_size=1000) for value in cast(Any, batch)[name].is_valid().to_pylist()
    ]


def _faults(dataset: Dataset, views: TeacherViews, given: Sequence[str]) -> list[str]:
    students = dataset["prompt"]
    own = dataset[PROMPT] if PROMPT in given else [None] * len(dataset)
    counts = image_counts(dataset, range(len(dataset)), teacher_image_column(dataset))
    found = []
    for index, (student, teacher) in enumerate(zip(students, own, strict=True)):
        if fault := views.fault(student, _worded(student, teacher), counts[index]):
            found.append(f"row {index}: {fault}")
    return found


def _listed(indices: Sequence[int]) -> str:
    return ", ".join(map(str, indices[:SHOWN])) + (", ..." if len(indices) > SHOWN else "")
