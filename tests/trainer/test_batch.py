"""TRL's batch: every key that TRL can write is known, and rows are taken and replaced whole."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

import pytest
import torch
from torch import Tensor
from trl import GRPOTrainer

from cepo.credit.groups import LocalGroups
from cepo.credit.rules import METHODS, Credit, Knobs
from cepo.credit.step import StepCredit
from cepo.errors import ModelError
from cepo.glossary import Group
from cepo.scoring import OtherImages
from cepo.trainer.batch import KINDS, Batch, Kind
from cepo.trainer.batch_images import joined, same_images
from cepo.trainer.batch_rows import replaced, together, trimmed

OURS = {"teacher_ids", "teacher_mask", "teacher_pictures", "taught", "taught_tokens"}
"""Distillation's own."""


def keys_that_trl_writes() -> set[str]:
    """Keys of `output` in TRL's source: of its first dict, and of every `output["..."] = ...` after it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(GRPOTrainer._generate_and_score_completions)))
    keys: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign):
            continue
        (target,) = node.targets
        if isinstance(target, ast.Name) and target.id == "output":
            assert isinstance(node.value, ast.Dict)
            keys |= {ast.literal_eval(key) for key in node.value.keys if key is not None}
        if isinstance(target, ast.Subscript) and ast.unparse(target.value) == "output":
            keys.add(ast.literal_eval(target.slice))
    return keys


def test_every_key_of_trls_is_known_and_no_other() -> None:
    assert len(keys_that_trl_writes()) > 15, "TRL builds its batch in another way: read its source"
    assert keys_that_trl_writes() == KINDS.keys() - OURS


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ModelError, match="does not know: a_new_key, b_new_key; is TRL newer"):
        Batch({"prompt_ids": torch.ones(1, 1), "b_new_key": 1, "a_new_key": 2})


def ids(row_lengths: list[int], width: int, value: int, left: bool) -> tuple[Tensor, Tensor]:
    """Ids (0 where padded) and mask, padded on the left or on the right."""
    out, mask = torch.zeros(len(row_lengths), width, dtype=torch.long), torch.zeros(len(row_lengths), width).long()
    for row, length in enumerate(row_lengths):
        where = slice(width - length, None) if left else slice(0, length)
        out[row, where] = value + row
        mask[row, where] = 1
    return out, mask


def batch(value: int, prompts: list[int], completions: list[int], **more: Any) -> Batch:
    """Rows are told apart by their ids: value, value + 1, ..."""
    prompt_ids, prompt_mask = ids(prompts, max(prompts), value, True)
    completion_ids, completion_mask = ids(completions, max(completions), value, False)
    rows = torch.arange(len(prompts), dtype=torch.float) + value
    return Batch(
        {
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
            "completion_ids": completion_ids,
            "completion_mask": completion_mask,
            "advantages": rows,
            "num_items_in_batch": completion_mask.sum(),
            **more,
        }
    )


def pictures(value: float, patches: list[int | None], width: int) -> dict[str, Any]:
    """One image of so many patches for each row; None: no image. Row i's pixels are value + i."""
    grids = [[1, 1, count] for count in patches if count]
    pixels = [torch.full((count, 3), value + row) for row, count in enumerate(patches) if count]
    kinds = torch.zeros(len(patches), width, dtype=torch.long)
    for row, count in enumerate(patches):
        kinds[row, 0] = int(bool(count))
    return {
        "num_images": [int(bool(count)) for count in patches],
        "image_grid_thw": torch.tensor(grids),
        "pixel_values": torch.cat(pixels),
        "mm_token_type_ids": kinds,
    }


def pixels_of(batch: Batch) -> list[list[float] | None]:
    return [None if image is None else image.pixel_values[:, 0].tolist() for image in batch.images()]


# --- reading ----------------------------------------------------------------------------------------------


def test_rows_without_padding() -> None:
    whole = batch(3, [2, 1], [1, 3])
    assert whole.prompts() == [[3, 3], [4]]
    assert whole.completions() == [[3], [4, 4, 4]]
    assert (len(whole), whole.width) == (2, 3)
    groups = LocalGroups({4: Group("7", ())}, {0: (4, 0), 1: (4, 1)})
    first, second = whole.rows(["p", "q"], groups, {1: [0.5, 0.5, 1.0]})
    assert (first.index, first.group, first.prompt, first.advantage, first.scores) == (0, 4, "p", 3.0, None)
    assert (second.index, second.prompt, second.completion_ids) == (1, "q", [4, 4, 4])
    assert second.scores == [0.5, 0.5, 1.0]


def test_images_belong_to_their_rows() -> None:
    mixed = batch(3, [2, 2, 2], [1, 1, 1], **pictures(10.0, [2, None, 3], 3))
    assert pixels_of(mixed) == [[10.0, 10.0], None, [12.0, 12.0, 12.0]]
    several = batch(3, [2, 2], [1, 1], **pictures(10.0, [2, 3], 3) | {"num_images": [0, 2]})
    assert pixels_of(several) == [None, [10.0, 10.0, 11.0, 11.0, 11.0]]


def test_images_of_another_layout() -> None:
    sizes, types = torch.tensor([[8, 8], [9, 9], [7, 7]]), torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    pixels = torch.arange(3.0)[:, None].expand(3, 2)
    own = {"pixel_values": pixels, "image_sizes": sizes, "num_images": [1, 2, 0], "token_type_ids": types}
    first, second, third = batch(3, [1, 2, 2], [1, 1, 1], **own).images()
    assert isinstance(first, OtherImages)
    assert isinstance(second, OtherImages)
    assert third is None
    assert first.fields["image_sizes"].tolist() == [[8, 8]]
    assert second.fields["pixel_values"].tolist() == [[1.0, 1.0], [2.0, 2.0]]
    assert (first.token_types["token_type_ids"].tolist(), first.reach) == ([[1]], 1)  # its padding is left out
    assert second.token_types["token_type_ids"].tolist() == [[1]]
    with pytest.raises(ModelError, match="3 pixel_values for 2 images or tiles"):
        batch(3, [1, 2, 2], [1, 1, 1], **own | {"num_images": [1, 1, 0]}).images()


def test_images_of_other_sizes_are_padded_as_processors_do() -> None:
    small, large = torch.ones(1, 1, 2), torch.full((2, 3, 1), 2.0)
    rows = [OtherImages({"pixel_values": pixels}, {}) for pixels in (small, large)]
    padded = torch.tensor([[[1.0, 1.0], [0, 0], [0, 0]], [[2.0, 0]] * 3, [[2.0, 0]] * 3])
    assert torch.equal(joined([rows[0], None, rows[1]])["pixel_values"], padded)
    assert same_images(OtherImages({"pixel_values": padded[:1]}, {}), rows[0])
    assert not same_images(OtherImages({"pixel_values": padded[:1].flip(1)}, {}), rows[0])
    assert not same_images(rows[0], None)
    one_per_row = OtherImages({"pixel_values": small, "pixel_attention_mask": small}, {})
    assert joined([None, one_per_row])["pixel_values"].tolist() == [[[0.0, 0.0]], [[1.0, 1.0]]]


def test_tool_output_is_not_counted() -> None:
    tools = batch(3, [1, 1], [3, 2], tool_mask=torch.tensor([[1, 0, 1], [1, 1, 1]]))
    assert tools.loss_mask.tolist() == [[1, 0, 1], [1, 1, 0]]
    assert batch(3, [1, 1], [3, 2]).loss_mask.tolist() == [[1, 1, 1], [1, 1, 0]]


# --- changing ---------------------------------------------------------------------------------------------

PER_ROW: dict[str, Any] = {
    "tool_mask": torch.tensor([[1, 0], [1, 1], [0, 1]]),
    "old_per_token_logps": torch.tensor([[-1.0, -2.0], [-3.0, -4.0], [-5.0, -6.0]]),
    "importance_sampling_ratio": torch.tensor([[1.0], [2.0], [3.0]]),
    "sampling_per_token_logps": None,
    "taught": torch.tensor([1.0, 0.0, 1.0]),
    "taught_tokens": torch.tensor(5.0),
    "teacher_ids": torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]),
    "teacher_mask": torch.ones(3, 4, dtype=torch.long),
}


def test_taking_takes_of_each_entry_what_belongs_to_the_rows() -> None:
    whole = batch(3, [2, 1, 2], [1, 2, 2], **PER_ROW, **pictures(10.0, [2, None, 3], 4))
    kept = whole.taking([2, 1])
    assert kept.prompts() == [[5, 5], [4]]
    assert kept.completions() == [[5, 5], [4, 4]]
    assert kept.advantages.tolist() == [5.0, 4.0]
    assert pixels_of(kept) == [[12.0, 12.0, 12.0], None]
    assert kept.raw["num_images"] == [1, 0]
    assert kept.raw["image_grid_thw"].tolist() == [[1, 1, 3]]
    assert kept.raw["mm_token_type_ids"].tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]
    assert kept.raw["tool_mask"].tolist() == [[0, 1], [1, 1]]
    assert kept.raw["importance_sampling_ratio"].tolist() == [[3.0], [2.0]]
    assert kept.teacher_prompts == [[9, 10, 11, 12], [5, 6, 7, 8]]
    assert kept.taught.tolist() == [1.0, 0.0]
    assert kept.raw["sampling_per_token_logps"] is None
    for name in ("num_items_in_batch", "taught_tokens"):
        assert kept.raw[name] is whole.raw[name], "of the whole step, not of these rows"
    assert kept.raw.keys() == whole.raw.keys()


def test_as_many_rows_as_tokens_are_not_confused() -> None:
    """A batch of 3 rows, 3 patches, 3 tokens: what is a row is written down, not guessed."""
    whole = batch(3, [3, 3, 3], [3, 3, 3], **pictures(10.0, [1, 1, 1], 6))
    kept = whole.taking([1])
    assert kept.raw["prompt_ids"].tolist() == [[4, 4, 4]]
    assert pixels_of(kept) == [[11.0]]


def test_rows_without_images_are_taken_out_of_a_batch_with_some() -> None:
    whole = batch(3, [2, 1, 2], [1, 2, 2], **pictures(10.0, [2, None, 3], 4))
    alone = whole.taking([1])
    assert "pixel_values" not in alone.raw
    assert alone.raw["num_images"] == [0]
    assert alone.images() == [None]


def test_replacing_pads_prompts_on_the_left_and_completions_on_the_right() -> None:
    old = batch(3, [2, 1], [3, 3], **pictures(10.0, [1, 2], 5))
    new = batch(7, [3, 2], [2, 1], **pictures(20.0, [3, 4], 5))
    merged = replaced(old, {1: 0}, new, pad_id=9)
    assert merged.raw["prompt_ids"].tolist() == [[9, 3, 3], [7, 7, 7]]
    assert merged.raw["prompt_mask"].tolist() == [[0, 1, 1], [1, 1, 1]]
    assert merged.raw["completion_ids"].tolist() == [[3, 3, 3], [7, 7, 9]]
    assert merged.raw["completion_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert merged.raw["mm_token_type_ids"].tolist() == [[0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]]
    assert merged.advantages.tolist() == [3.0, 7.0]
    assert merged.raw["image_grid_thw"].tolist() == [[1, 1, 1], [1, 1, 3]]
    assert pixels_of(merged) == [[10.0], [20.0, 20.0, 20.0]]
    assert old.raw["completion_ids"].shape == (2, 3), "nothing is changed in place"
    assert old.advantages.tolist() == [3.0, 4.0]


def test_replacing_by_shorter_and_longer_ones() -> None:
    for old_lengths, new_lengths in (([1, 1], [4, 4]), ([4, 4], [1, 1])):
        old, new = batch(3, old_lengths, new_lengths), batch(7, new_lengths, old_lengths)
        merged = replaced(old, {0: 1}, new, pad_id=9)
        assert merged.prompts() == [new.prompts()[1], old.prompts()[1]]
        assert merged.completions() == [new.completions()[1], old.completions()[1]]


def test_rows_of_several_batches_are_put_together_in_order() -> None:
    one, two = batch(3, [2, 1], [1, 3], **pictures(10.0, [2, 1], 5)), batch(7, [1, 3], [2, 1])
    made = together([one, two], [(1, 0), (0, 1), (1, 1), (1, 0)], pad_id=9)
    assert made.prompts() == [[7], [4], [8, 8, 8], [7]]
    assert made.completions() == [[7, 7], [4, 4, 4], [8], [7, 7]]
    assert made.raw["prompt_ids"][1].tolist() == [9, 0, 4]
    assert pixels_of(made) == [None, [11.0], None, None]
    assert made.raw["num_items_in_batch"] == one.raw["num_items_in_batch"]


def test_advantages_of_rows_beside_those_of_tokens() -> None:
    rows = batch(3, [1, 1], [2, 1])
    tokens = batch(7, [1], [3], advantages=torch.tensor([[0.5, -0.5, 1.0]]))
    made = together([rows, tokens], [(0, 1), (1, 0)], pad_id=9)
    assert made.advantages.tolist() == [[4.0, 4.0, 4.0], [0.5, -0.5, 1.0]]


def test_teachers_prompts_of_several_batches_are_padded() -> None:
    images = pictures(10.0, [1], 2)
    taught = {"taught": torch.ones(1), "teacher_ids": torch.tensor([[5, 6]]), "teacher_mask": torch.tensor([[1, 1]])}
    own = batch(3, [1], [1], **taught, **images)
    other = own.having(
        teacher_ids=torch.tensor([[7, 8, 9]]), teacher_mask=torch.tensor([[1, 1, 1]]), taught=torch.zeros(1),
        teacher_pictures=[None],
    )  # fmt: skip
    for parts in ([own, other], [other, own]):  # without pictures of its own a teacher sees the student's
        made = together(parts, [(0, 0), (1, 0)], pad_id=9)
        assert sorted(made.teacher_prompts) == [[5, 6], [7, 8, 9]]
        assert [image is None for image in made.teacher_images()] == [one is other for one in parts]
        assert made.alive().tolist() == [one is own for one in parts]
        assert not made.dead(torch.tensor([True, True])).alive().any()
    assert own.tokens.tolist() == [4]


def test_columns_of_padding_alone_are_cut() -> None:
    wide = batch(3, [1, 2, 4], [2, 1, 5], **pictures(10.0, [1, None, 2], 9), **{RATIO: torch.tensor([[1.0]] * 3)})
    narrow = wide.taking([0, 1])
    cut = trimmed(narrow)
    assert (cut.prompts(), cut.completions()) == (narrow.prompts(), narrow.completions())
    assert (cut.raw["prompt_ids"].shape, cut.completion_ids.shape) == ((2, 2), (2, 2))
    assert cut.raw["mm_token_type_ids"].tolist() == narrow.raw["mm_token_type_ids"][:, 2:6].tolist()
    assert cut.raw[RATIO].shape == (2, 1)
    assert cut.tokens.tolist() == narrow.tokens.tolist() == [3, 3]
    assert pixels_of(cut) == pixels_of(narrow)
    by_three = trimmed(narrow, 3)
    assert (by_three.raw["prompt_ids"].shape[1], by_three.width) == (3, 3)
    assert (trimmed(wide, 3).prompts(), trimmed(wide, 3).completions()) == (wide.prompts(), wide.completions())


def test_a_batch_of_empty_completions_keeps_a_column() -> None:
    empty = batch(3, [2, 2], [1, 1]).having(completion_mask=torch.zeros(2, 1, dtype=torch.long))
    assert trimmed(empty).width == 1


RATIO = "importance_sampling_ratio"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([[1.0], [2.0]], [[5.0], [6.0]], [[1.0], [5.0]]),
        ([[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0, 7.0], [0.0, 0.0, 0.0]], [[1.0, 2.0, 0.0], [5.0, 6.0, 7.0]]),
        ([[1.0], [2.0]], [[5.0, 6.0, 7.0], [0.0, 0.0, 0.0]], [[1.0, 1.0, 1.0], [5.0, 6.0, 7.0]]),
        ([[1.0, 2.0], [3.0, 4.0]], [[5.0], [6.0]], [[1.0, 2.0, 0.0], [5.0, 5.0, 5.0]]),
    ],
    ids=["by row", "by token", "row, then token", "token, then row"],
)
def test_importance_ratios_of_rows_and_of_tokens(old: Any, new: Any, expected: Any) -> None:
    first = batch(3, [1, 1], [2, 2], **{RATIO: torch.tensor(old)})
    merged = replaced(first, {1: 0}, batch(7, [1, 1], [3, 3], **{RATIO: torch.tensor(new)}), pad_id=9)
    assert merged.raw[RATIO].tolist() == expected


def test_log_probs_keep_their_tokens_and_their_type() -> None:
    logps = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]], dtype=torch.bfloat16)
    first = batch(3, [1, 1], [2, 2], old_per_token_logps=logps)
    second = batch(7, [1, 1], [3, 3], old_per_token_logps=torch.full((2, 3), -9.0))
    merged = replaced(first, {0: 0}, second, pad_id=9).old_logps
    assert merged is not None
    assert merged.tolist() == [[-9.0, -9.0, -9.0], [-3.0, -4.0, 0.0]]
    assert merged.dtype == torch.bfloat16


@pytest.mark.parametrize("images", ["old", "new", "both"])
def test_rows_with_images_and_rows_without_replace_each_other(images: str) -> None:
    """TRL leaves all of the images' entries out of a batch in which no row has one."""
    old_images = pictures(10.0, [2, 1], 4) if images in ("old", "both") else {}
    new_images = pictures(20.0, [None, 3], 5) if images in ("new", "both") else {}
    old, new = batch(3, [2, 2], [2, 2], **old_images), batch(7, [3, 3], [2, 2], **new_images)
    merged = replaced(old, {0: 1}, new, pad_id=9)
    expected = {
        "old": [None, [11.0]],
        "new": [[21.0, 21.0, 21.0], None],
        "both": [[21.0, 21.0, 21.0], [11.0]],
    }[images]
    assert pixels_of(merged) == expected
    assert merged.raw["num_images"] == [int(bool(own)) for own in expected]
    kinds = {
        "old": [[0, 0, 0, 0, 0], [0, 1, 0, 0, 0]],
        "new": [[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
        "both": [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]],
    }[images]
    assert merged.raw["mm_token_type_ids"].tolist() == kinds


def test_the_batch_without_images_stays_without_them() -> None:
    merged = replaced(batch(3, [1, 1], [1, 1]), {0: 0}, batch(7, [1, 1], [1, 1]), pad_id=9)
    assert not {name for name in merged.raw if KINDS[name] in (Kind.IMAGES, Kind.SEQUENCE)}
    assert "num_images" not in merged.raw


def test_credit_stands_on_the_rows_that_have_it() -> None:
    whole = batch(3, [1, 1, 1], [2, 2, 2])
    credit = Credit(torch.zeros(2, 2), torch.ones(2, 2), torch.tensor([[9.0, 8.0], [7.0, 6.0]]))
    step = StepCredit(1, METHODS["cepo"], Knobs(0.5, 0.5), LocalGroups({}, {}), {})
    assert whole.with_credit(step) is whole
    credited = whole.with_credit(
        StepCredit(1, METHODS["cepo"], Knobs(0.5, 0.5), LocalGroups({}, {}), {}, rows=[2, 0], credit=credit)
    )
    assert credited.advantages.tolist() == [[7.0, 6.0], [4.0, 4.0], [9.0, 8.0]]
    assert whole.advantages.dim() == 1


def test_rows_that_are_alive() -> None:
    whole = batch(0, [1, 1, 1], [2, 2, 2])
    assert whole.alive().tolist() == [False, True, True]
    credited = whole.having(advantages=torch.tensor([[0.0, 0.0], [0.0, -1.0], [1.0, 1.0]]))
    assert credited.alive().tolist() == [False, True, True]
