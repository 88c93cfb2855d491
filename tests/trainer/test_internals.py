"""What we rely on in TRL and transformers: every private name, where it is named, and what our hooks make of it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from datasets import Dataset
from transformers import Trainer
from trl import GRPOTrainer

import cepo
from cepo.errors import SettingError
from cepo.trainer.batch import KINDS
from cepo.trainer.internals import HostTrainer, check_kernels
from cepo.trainer.prompt_host import PromptHost
from tests.trainer.conftest import MakeTrainer, embedded

SOURCE = Path(cepo.__file__).parent
INTERNALS = ("trainer/internals.py", "trainer/internals_prompts.py")
TRAINER = SOURCE / "trainer" / "trainer.py"

METHODS = {
    "_generate_and_score_completions": ["inputs"],
    "_prepare_inputs": ["generation_batch"],
    "_calculate_rewards": ["inputs", "prompts", "completions", "completion_ids_list"],
    "_compute_loss": ["model", "inputs"],
    "_save_checkpoint": ["model", "trial"],
    "_load_optimizer_and_scheduler": ["checkpoint"],
    "_tokenize_prompts": ["prompts"],
    "_generate_single_turn": ["prompt_ids", "images", "multimodal_fields", "num_generations", "has_tool_images"],
    "_get_per_token_logps_and_entropies": [
        "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy",
        "compute_aux_loss", "pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "spatial_shapes",
        "num_tiles", "image_sizes", "token_type_ids", "mm_token_type_ids", "image_position_ids",
    ],
    "_get_output_dir": ["trial"],
    "_save_rng_state": ["output_dir"],
    "_maybe_log_save_evaluate": [
        "tr_loss", "grad_norm", "model", "trial", "epoch", "ignore_keys_for_eval", "start_time", "learning_rate",
    ],
    "_run_epoch": [
        "model", "epoch", "train_dataloader", "steps_in_epoch", "num_update_steps_per_epoch", "trial",
        "ignore_keys_for_eval", "start_time", "resume_from_checkpoint", "epochs_trained",
        "steps_trained_in_current_epoch",
    ],
    "_load_from_checkpoint": ["resume_from_checkpoint", "model"],
    "_save": ["output_dir", "state_dict"],
}  # fmt: skip
"""Private methods that we override or call, with their parameters."""

ATTRIBUTES = {
    "_tokenizer", "_metrics", "_logs", "_is_vlm", "_name", "_step", "_buffered_inputs", "_batch_environments",
    "_multi_environment",
}  # fmt: skip

CALLED_IN = {
    "_generate_and_score_completions": GRPOTrainer._prepare_inputs,
    "_prepare_inputs": Trainer.training_step,
    "_calculate_rewards": GRPOTrainer._generate_and_score_completions,
    "_compute_loss": GRPOTrainer.compute_loss,
    "_save_checkpoint": Trainer._maybe_log_save_evaluate,
    "_load_optimizer_and_scheduler": Trainer._prepare_for_training,
    "_tokenize_prompts": GRPOTrainer._generate,
    "_generate_single_turn": GRPOTrainer._generate,
    "_get_per_token_logps_and_entropies": GRPOTrainer._compute_loss,
    "_save_rng_state": Trainer._save_checkpoint,
    "_maybe_log_save_evaluate": Trainer._run_epoch,
    "_run_epoch": Trainer._inner_training_loop,
}
"""Hooks that must still be called where we think they are."""


def parsed(thing: Any) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(thing)))


def private_names_of_trl() -> set[str]:
    """Every private attribute and method of TRL's trainer and of the classes that it is made of."""
    names: set[str] = set()
    for cls in GRPOTrainer.__mro__[:-1]:
        names |= set(vars(cls))
        names |= {node.attr for node in ast.walk(parsed(cls)) if isinstance(node, ast.Attribute)
                  and isinstance(node.value, ast.Name) and node.value.id == "self"}  # fmt: skip
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def names_in(tree: ast.AST) -> Iterator[str]:
    """Attributes, functions, assigned names and strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def defined_in(tree: ast.AST) -> set[str]:
    """Private names that a file makes itself."""
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    stored = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    return functions | stored


# --- where TRL is known -----------------------------------------------------------------------------------


def test_private_names_of_trls_trainer_stand_in_one_file() -> None:
    private = private_names_of_trl()
    assert {*METHODS, *ATTRIBUTES} <= private
    named: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        # A class on TRL's trainer makes no private name of its own that TRL has; elsewhere a like name is another.
        own = set() if path == TRAINER else defined_in(tree)
        if found := private & set(names_in(tree)) - own:
            named[str(path.relative_to(SOURCE))] = found
    trees = [ast.parse((SOURCE / path).read_text()) for path in INTERNALS]
    internals = private & {name for tree in trees for name in names_in(tree)}
    assert not named.keys() - {*INTERNALS}, named
    assert internals == {*METHODS, *ATTRIBUTES}, "each needs a line in this file's tables"


ELSEWHERE = {
    "integrations/verl.py": {"advantages", "image_grid_thw", "mm_token_type_ids"},  # of verl's own batch
    "data/rewards.py": {"completion_ids"},  # what TRL passes to reward functions
    "scoring/forward.py": {"pixel_values", "image_grid_thw", "mm_token_type_ids"},  # a model's inputs
    "lab/audit/sampling.py": {"pixel_values", "image_grid_thw", "mm_token_type_ids"},
    "lab/warm_start.py": {"pixel_values", "image_grid_thw", "mm_token_type_ids"},
    "lab/figures_tower.py": {"pixel_values", "image_grid_thw"},
    "lab/warm_start_figures.py": {"pixel_values", "image_grid_thw"},
}
"""Files that name such a word for something else than TRL's batch."""


def test_keys_of_trls_batch_stand_in_three_files() -> None:
    named: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        constants = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        name = str(path.relative_to(SOURCE))
        found = {word for word in constants if isinstance(word, str)} & KINDS.keys() - ELSEWHERE.get(name, set())
        if found:
            named[name] = found
    assert named.keys() == {"trainer/batch.py", "trainer/batch_images.py", "trainer/batch_rows.py"}, named


# --- every private name ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "parameters"), METHODS.items(), ids=METHODS)
def test_private_methods_take_what_we_give(name: str, parameters: list[str]) -> None:
    theirs = list(inspect.signature(getattr(GRPOTrainer, name)).parameters.values())
    assert [parameter.name for parameter in theirs] == ["self", *parameters]


@pytest.mark.parametrize(("name", "caller"), CALLED_IN.items(), ids=CALLED_IN)
def test_hooks_are_called_where_we_think(name: str, caller: Any) -> None:
    calls = [node.func for node in ast.walk(parsed(caller)) if isinstance(node, ast.Call)]
    assert sum(isinstance(call, ast.Attribute) and call.attr == name for call in calls) >= 1


def test_private_attributes_are_what_we_think(make_trainer: MakeTrainer) -> None:
    trainer: Any = make_trainer(method="grpo")
    assert trainer._tokenizer is trainer.processing_class.tokenizer
    assert trainer._is_vlm is True
    assert trainer._metrics["train"]["a metric that there is not"] == []
    assert len(trainer._logs["extra"]["a column that there is not"]) == 0
    ids, images, fields = GRPOTrainer._tokenize_prompts(trainer, [[{"role": "user", "content": "x"}]])
    assert len(ids) == 1
    assert images is None
    assert isinstance(fields, dict)
    assert GRPOTrainer._name == "GRPO"


# --- our names for them ------------------------------------------------------------------------------------


def test_metrics_and_tables_are_logged_beside_trls(make_trainer: MakeTrainer) -> None:
    trainer: Any = make_trainer(method="grpo")
    trainer.log_step("credit/mine", 2.0)
    trainer.log_step("credit/mine", 4.0)
    trainer.log_table("mine", ["a", None])
    assert trainer._metrics["train"]["credit/mine"] == [2.0, 4.0]
    assert list(trainer._logs["extra"]["mine"]) == ["a", None]


def test_the_hooks_are_called(make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each private method of TRL's reaches its public name, in the order of a step, with what it holds."""
    seen: list[tuple[str, Any]] = []
    kept = {name: getattr(HostTrainer, name) for name in
            ("make_batch", "rewarded", "loss_of", "checkpoint_written", "checkpoint_loaded")}  # fmt: skip
    trainer: Any = make_trainer(method="grpo", max_steps=1, save_strategy="steps", save_steps=1)
    for name in kept:

        def call(self: Any, *arguments: Any, name: str = name) -> Any:
            seen.append((name, arguments))
            return kept[name](self, *arguments)

        monkeypatch.setattr(type(trainer), name, call)
    trainer.train()
    assert [name for name, _ in seen] == ["make_batch", "rewarded", "loss_of", "checkpoint_written"]
    said = dict(seen)
    assert [len(part) for part in (said["make_batch"][0], said["rewarded"][0], said["rewarded"][1])] == [8, 8, 8]
    assert said["checkpoint_written"] == (tmp_path / "run" / "checkpoint-1",)
    seen.clear()
    resumed: Any = make_trainer(method="grpo", max_steps=2)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-1"))
    assert seen[0] == ("checkpoint_loaded", (tmp_path / "run" / "checkpoint-1",))


def test_prompts_without_a_trainer_are_the_trainers(
    make_trainer: MakeTrainer, processor: Any, rows: list[dict[str, Any]]
) -> None:
    """What the doctor measures is what the trainer will see: with an image, with two, without one."""
    trainer: Any = make_trainer(method="grpo")
    host = PromptHost(processor, {})
    image = rows[0]["images"][0]
    parts = [{"type": "image"}, {"type": "text", "text": "Find x."}]
    cases = [
        rows[0],
        {"prompt": rows[0]["prompt"], "images": [image, rows[1]["images"][0]]},
        {"prompt": [{"role": "user", "content": parts}], "images": [image]},
        {"prompt": [{"role": "user", "content": parts}], "image": image},
        {"prompt": [{"role": "user", "content": "Find x."}]},
        {"prompt": "Find x."},
    ]
    lengths = set()
    for row in cases:
        assert list(host.prompt_ids(row)) == list(trainer.prompt_ids(row))
        assert host.render(row["prompt"]) == trainer.render(row["prompt"])
        lengths.add(len(host.prompt_ids(row)))
    assert len(lengths) > 3


def test_the_trainers_prompts_are_those_of_its_batch(make_trainer: MakeTrainer) -> None:
    trainer: Any = make_trainer(method="grpo")
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    batch = trainer._generate_and_score_completions(inputs)
    for row, ids, mask in zip(inputs, batch["prompt_ids"], batch["prompt_mask"], strict=True):
        assert list(trainer.prompt_ids(row)) == ids[mask.bool()].tolist()


def test_a_batch_in_which_one_prompt_has_no_image(make_trainer: MakeTrainer, rows: list[dict[str, Any]]) -> None:
    """The processor takes no None among images; TRL would hand it one."""
    data = Dataset.from_list([row | ({"images": []} if index % 2 else {}) for index, row in enumerate(rows)])
    trainer: Any = make_trainer(method="grpo", train_dataset=data, per_device_train_batch_size=16)
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    counts = [len(row["images"]) for row in inputs]
    assert set(counts) == {0, 1}, "rows of one kind: a vacuous test"
    assert trainer._generate_and_score_completions(inputs)["num_images"] == counts


# --- no image placeholder in a completion, however likely the model finds it --------------------------------


def test_the_sampled_stream_of_trl_is_kept(make_trainer: MakeTrainer) -> None:
    """TRL bans the placeholder itself: what we ban is the same list."""
    trainer: Any = make_trainer(method="grpo")
    assert trainer.generation_config.suppress_tokens == [trainer.processing_class.image_token_id]


@pytest.mark.parametrize("method", ["grpo", "cepo"])
def test_a_list_of_the_users_own_does_not_let_it_through(method: str, make_trainer: MakeTrainer) -> None:
    model = embedded()
    trainer: Any = make_trainer(
        method=method, model=model, max_steps=1, generation_kwargs={"suppress_tokens": [90]}, max_completion_length=8
    )
    placeholder = trainer.processing_class.image_token_id

    def prefer_it(module: Any, inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        logits[..., placeholder] += 100.0
        return logits

    handle = cast(Any, model.lm_head).register_forward_hook(prefer_it)
    trainer.model.train()
    batch = GRPOTrainer._generate_and_score_completions(trainer, next(iter(trainer.get_train_dataloader())))
    assert not (batch["completion_ids"] == placeholder).any()
    assert not (batch["completion_ids"] == 90).any()
    handle.remove()


def test_vllm_is_told_by_name() -> None:
    vllm = SimpleNamespace(generation_kwargs={"bad_words": ["damn"], "seed": 1})
    tokenizer = SimpleNamespace(convert_ids_to_tokens={5: "<|image_pad|>"}.get)
    host = SimpleNamespace(use_vllm=True, vllm_generation=vllm, image_token_id=5, tokenizer=tokenizer)
    HostTrainer.never_sample_an_image(cast(Any, host))
    assert vllm.generation_kwargs == {"bad_words": ["damn", "<|image_pad|>"], "seed": 1}


def test_a_model_without_images_is_left_alone() -> None:
    HostTrainer.never_sample_an_image(cast(Any, SimpleNamespace(image_token_id=None)))


def test_vllm_is_handed_no_empty_list_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colocated it takes the first of each list: rows with and without images ended in an IndexError, in every method.
    The processor, on the contrary, takes no None."""
    handed: list[Any] = []
    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", lambda self, *words, **_: handed.append(words[1]))
    trainer = cast(Any, HostTrainer.__new__(HostTrainer))
    for trainer.use_vllm in (True, False):
        trainer._generate_single_turn([[1], [2]], [["picture"], []], {}, 2)
        trainer._generate_single_turn([[1], [2]], None, {}, 2)
    assert handed == [[["picture"], None], None, [["picture"], []], None]


def test_a_trl_without_a_loss_for_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL 1.15 has no log-probs on a CPU; without this sentence the first loss ended in an AttributeError of None."""
    monkeypatch.setattr("trl.trainer.utils._ChunkedLogProbFunction", None, raising=False)
    with pytest.raises(SettingError, match=r"computes its loss on GPUs alone, and there is none: pip install 'trl>=1"):
        check_kernels(torch.device("cpu"))
    check_kernels(torch.device("cuda"))
