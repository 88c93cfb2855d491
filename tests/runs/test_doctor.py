"""The doctor says what the trainer will say: the same checks, on the same prompts, with the same sentences."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cepo.cli import main
from cepo.runs import doctor
from cepo.runs.doctor import diagnose
from cepo.runs.doctor_gpu import gpu_settings
from cepo.runs.recipe import load_recipe, parse_overrides, resolve_recipe
from cepo.trainer.checks import CHECKS
from tests.gpu import ON_GPU

TINY = [
    "--data_limit", "16", "--eval_limit", "8", "--per_device_train_batch_size", "8", "--gradient_accumulation_steps",
    "1", "--num_generations", "4",
]  # fmt: skip


def findings(folder: Path, *fields: str) -> dict[str, tuple[str, str]]:
    values = load_recipe(Path("tiny/cepo.yaml")) | parse_overrides([*TINY, "--output_dir", str(folder), *fields])
    return {found.name: (found.verdict, found.seen) for found in diagnose(*resolve_recipe(values))}


def trainers_word(capsys: pytest.CaptureFixture[str], folder: Path, *fields: str) -> str:
    """The sentence with which `cepo train` ends."""
    capsys.readouterr()
    assert main(["train", "--config", "tiny/cepo.yaml", *TINY, "--output_dir", str(folder), *fields]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cepo: error: ")]
    return re.sub(r"\s+", " ", line.removeprefix("cepo: error: "))


def rows_file(folder: Path, **changes: Any) -> str:
    """A file of problems without images, of which the sixth is changed."""
    rows = [{"prompt": f"What is {number} + 1?", "answer": str(number + 1)} for number in range(12)]
    rows[5] |= changes
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_loaded_model_is_probed(tmp_path: Path) -> None:
    values = load_recipe(Path("tiny/cepo.yaml")) | parse_overrides([*TINY, "--output_dir", str(tmp_path)])
    found = {one.name: (one.verdict, one.seen) for one in diagnose(*resolve_recipe(values), load=True)}
    verdict, seen = found["probe"]
    assert verdict == "ok"
    assert seen.startswith("scored log-probs are the model's own within ")
    assert "probe" not in findings(tmp_path)


def test_the_probe_computes_as_a_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under autocast, which brings together what a model leaves in two dtypes (Llama 4: pixels and weights)."""
    real = doctor.load_policy

    def loaded(*args: Any) -> Any:
        model, processor = real(*args)
        model = model.bfloat16()
        model.model.language_model.norm.register_forward_hook(lambda _module, _args, output: output.float())
        return model, processor

    monkeypatch.setattr(doctor, "load_policy", loaded)
    asked = [*TINY, "--output_dir", str(tmp_path), "--bf16", "true"]
    values = load_recipe(Path("tiny/cepo.yaml")) | parse_overrides(asked)
    found = {one.name: (one.verdict, one.seen) for one in diagnose(*resolve_recipe(values), load=True)}
    assert found["probe"][0] == "ok", found["probe"]


def test_words_that_the_model_does_not_know_are_counted(tmp_path: Path) -> None:
    """The small text model knows the words of chains: of other problems it would read unknown tokens."""
    asked = ["--model", "tiny-text", "--data", rows_file(tmp_path), "--data_limit", "12", "--eval_data", "chain"]
    verdict, seen = findings(tmp_path, *asked)["vocabulary"]
    assert verdict == "warn"
    assert re.fullmatch(r"\d+ of the first rows' \d+ prompt tokens are unknown to the model \(<unk>\)", seen)
    found = findings(tmp_path, "--model", "tiny-text", "--data", "chain", "--eval_data", "chain")
    assert found["vocabulary"][0] == "ok"
    assert ON_GPU or found["devices"] == ("ok", "no GPU, and tiny-text needs none")
    assert re.search(r"about \d+\.\d s a step on an H100, 0\.\d s on two cores", found["memory"][1])


def known(folder: Path, *fields: str) -> dict[str, tuple[str, str]]:
    """Findings on settings alone."""
    values = load_recipe(Path("tiny/cepo.yaml")) | parse_overrides([*TINY, "--output_dir", str(folder), *fields])
    return {found.name: (found.verdict, found.seen) for found in gpu_settings(*resolve_recipe(values), eval_rows=5000)}


def test_settings_that_go_wrong_on_gpus_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert known(tmp_path) == {}
    vllm = ["--use_vllm", "true", "--vllm_mode", "colocate"]
    assert known(tmp_path, *vllm) == {}
    verdict, seen = known(tmp_path, *vllm, "--vllm_enable_sleep_mode", "true")["vllm sleep"]
    assert verdict == "warn"
    assert "stale ones" in seen
    for cut in (["--top_p", "0.9"], ["--top_k", "20"], ["--min_p", "0.05"]):
        verdict, seen = known(tmp_path, *vllm, *cut)["sampling"]
        assert verdict == "fail"
        assert "importance correction" in seen
        assert "sampling" not in known(tmp_path, *vllm, *cut, "--vllm_importance_sampling_correction", "false")
        assert "sampling" not in known(tmp_path, *cut)
    for flash, precision in (("flash_attention_2", "bfloat16"), ("sdpa", "tf32")):
        fields = ["--attn_implementation", flash, "--credit_precision", precision]
        assert "attention" not in known(tmp_path, *fields)
    assert "no fp32 kernels" in known(tmp_path, "--attn_implementation", "flash_attention_2")["attention"][1]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    long = ["--eval_samples", "8", "--max_completion_length", "16384"]
    verdict, seen = known(tmp_path, *long)["evaluation"]
    assert verdict == "warn"
    assert seen.startswith("a batch of 64 answers may take 44 minutes on one process, while the others")
    assert "evaluation" not in known(tmp_path, *long, "--ddp_timeout", "9000")


@pytest.mark.parametrize(
    "fields",
    [
        ["--reference_form", "rationale", "--max_completion_length", "460"],
        ["--reference_template", "{reference}" + " 7" * 900],
        ["--max_completion_length", "860"],
        ["--method", "sdpo", "--max_completion_length", "460"],
        ["--max_completion_length", "1000", "--method", "grpo"],
        ["--prompt_style", "prefill", "--reference_form", "rationale", "--max_completion_length", "480"],
    ],
    ids=["a long rollout as r-", "the words around a reference", "a long answer as r-", "a long peer", "the student's",
         "prefill"],
)  # fmt: skip
def test_prompts_that_do_not_fit_are_refused_alike(
    fields: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The doctor used to say ok, "604 of 1024", where the trainer then refused: it knew the student's prompts alone."""
    verdict, seen = findings(tmp_path, *fields)["lengths"]
    assert verdict == "fail"
    assert "16 of 16 rows have prompts (references included) of more tokens than fit" in seen
    assert seen == trainers_word(capsys, tmp_path, *fields)


def test_a_format_is_checked_with_the_gold_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = ["--data", "geometry", "--answer_format", "tags", "--rewards", "[accuracy_reward, format_reward]"]
    assert findings(tmp_path / "run", *fields)["rewards"] == ("ok", "2 functions score the gold answers of 2 rows")
    fields = ["--data", rows_file(tmp_path, answer="a. b"), "--answer_format", "phrase"]
    verdict, seen = findings(tmp_path / "run", *fields)["data"]
    assert verdict == "fail"
    assert "row 5: answer 'a. b': answer_format='phrase' reads 'a' where it stands" in seen
    assert seen.startswith(trainers_word(capsys, tmp_path / "run", *fields))  # which says the rest on further lines


@pytest.mark.parametrize(
    ("changes", "name"),
    [({"prompt": "What is <|image_pad|>?"}, "images"), ({"prompt": "7 " * 1200}, "lengths")],
    ids=["a placeholder in a question", "a long question"],
)
def test_rows_that_cannot_be_used_are_refused_alike(
    changes: dict[str, str], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The doctor goes on to what can still be looked at; prompts that cannot be made are not."""
    fields = ["--data", rows_file(tmp_path, **changes)]
    found = findings(tmp_path / "run", *fields)
    assert found[name] == ("fail", trainers_word(capsys, tmp_path / "run", *fields))
    assert "row 5" in found[name][1]
    assert "memory" in found
    assert ("image tokens" in found) == (name != "images")


def test_settings_that_cannot_be_used_are_refused_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(tmp_path, "--wrong_reward", "nope")["answers"]
    assert found == ("fail", trainers_word(capsys, tmp_path, "--wrong_reward", "nope"))
    assert "'nope' names no reward function" in found[1]


def test_what_the_doctor_passes_the_trainer_takes(tmp_path: Path) -> None:
    """The longest prompt that it measures is the teachers', to the token: one more and the trainer refuses."""
    fields = ["--reference_form", "rationale", "--max_completion_length", "100"]
    found = findings(tmp_path, *fields)
    assert {found[name][0] for name in CHECKS} == {"ok"}
    longest = int(re.findall(r"longest prompt (\d+)", found["lengths"][1])[0])
    # A rollout may be the reference: of T tokens, beside T tokens of completion.
    room = 1024 - (longest - 100)
    fits, over = (str(room // 2 + more) for more in (0, 1))
    assert findings(tmp_path, *fields[:2], "--max_completion_length", fits)["lengths"][0] == "ok"
    assert findings(tmp_path, *fields[:2], "--max_completion_length", over)["lengths"][0] == "fail"


def test_every_check_of_the_trainer_is_the_doctors(tmp_path: Path) -> None:
    assert {"problems", "answers", "teachers", "images", "strings", "rewards", "lengths"} == CHECKS.keys()
    assert CHECKS.keys() <= findings(tmp_path).keys()
