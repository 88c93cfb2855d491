"""A run as a plain Hugging Face folder: adapters merged, safetensors, processor, chat template, model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from torch import Tensor
from transformers import PreTrainedModel

from cepo.errors import ModelError, RunFolderError
from cepo.models.loading import load_checkpoint
from cepo.models.processor_config import IMAGE_ONLY, as_qwen3_vl
from cepo.models.where import EXPORTED_FROM, run_of, weights_of
from cepo.runs.folder import RunFolder

__all__ = ["export_run"]

WORST_DIFFERENCE = 1e-3
"""Logits of the exported model against the run's, in fp32: merging an adapter rounds."""


def export_run(given: Path, out: Path) -> Path:
    """Write `out` from a run folder, its model, a checkpoint, or any adapter or model; load it back with plain
    transformers, and compare logits.

    Raises:
        RunFolderError: a run without a model, or `out` is not empty.
        ModelError: the model cannot be loaded, or the folder that was written computes something else.
    """
    if not given.is_dir():
        raise RunFolderError(f"there is no folder {given}: give a run, its model, a checkpoint, an adapter or a model")
    source, run = weights_of(given), run_of(given)
    if not any((source / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise RunFolderError(f"{given} is not a finished run, and no model or adapter either: it has no config.json")
    config = {} if run is None else RunFolder(run).read_config()
    if out.exists() and any(out.iterdir()):
        raise RunFolderError(f"{out} is not empty; choose another --out")
    trust = bool(config.get("trust_remote_code", False))
    model, processor = load_checkpoint(source, base=config.get("model"), trust_remote_code=trust)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    _name_processor(out)
    if run is not None:
        (out / "README.md").write_text(model_card(RunFolder(run), config))
        (out / EXPORTED_FROM).write_text(json.dumps({"run": str(run.absolute())}) + "\n")
    worst = _difference(model, load_checkpoint(out)[0])
    if worst > WORST_DIFFERENCE:
        raise ModelError(f"{out} computes other logits than the run's model (by {worst:.1e}); do not use it")
    return out


def _name_processor(out: Path) -> None:
    """Our processor's name would be unknown to transformers' AutoProcessor, which would give the tokenizer alone."""
    file, tokenizer = out / "processor_config.json", out / "tokenizer_config.json"
    config = json.loads(file.read_text()) if file.is_file() else {}
    if config.get("processor_class") != IMAGE_ONLY:
        return
    named = as_qwen3_vl(config)
    file.write_text(json.dumps(named, indent=2) + "\n")
    own = json.loads(tokenizer.read_text()) | {"processor_class": named["processor_class"]}
    tokenizer.write_text(json.dumps(own, indent=2) + "\n")


@torch.no_grad()
def _difference(a: PreTrainedModel, b: PreTrainedModel) -> float:
    """Largest difference of logits on a few tokens of text, computed in each model's own dtype."""
    vocabulary = a.config.get_text_config().vocab_size
    ids = torch.arange(1, 33)[None] % vocabulary
    logits = [cast(Tensor, model.eval()(input_ids=ids.to(model.device)).logits).float().cpu() for model in (a, b)]
    return (logits[0] - logits[1]).abs().max().item()


def model_card(run: RunFolder, config: Mapping[str, Any]) -> str:
    """What was trained on what, how, and what came out; only what the run folder says."""
    summary, versions = (json.loads(file.read_text()) if file.is_file() else {} for file in (run.summary, run.versions))
    base = (
        "the embedded model of cepo"
        if config["model"] == "tiny"
        else f"[{config['model']}](https://hf.co/{config['model']})"
    )
    header = {"library_name": "transformers", "tags": ["cepo", "rlvr", config["method"]]}
    if config["model"] != "tiny":
        header["base_model"] = config["model"]
    lines = [
        "---", yaml.safe_dump(header).strip(), "---", "",
        f"# {config['model']} trained with {config['method'].upper()}", "",
        f"Base: {base}. Its licence applies to these weights.",
        f"Data: `{config['data']}` ({config['data_split']}). Rewards: {', '.join(config['rewards'])}.",
        f"Method: `{config['method']}`, preset `{config['preset']}`, seed {config['seed']}, "
        f"{summary.get('steps', '?')} steps, learning rate {config['learning_rate']}.", "",
        "| field | value |", "|---|---|",
        *(f"| {name} | {value} |" for name, value in (config.get("credit") or {}).items()), "",
        *_results(summary),
        f"Made with {', '.join(f'{name} {versions.get(name)}' for name in ('cepo', 'trl', 'torch'))}; "
        f"source revision {versions.get('git') or 'unknown'}.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _results(summary: Mapping[str, Any]) -> list[str]:
    if "difference" not in summary:
        return ["No evaluation was part of the run.", ""]
    rows = [("before", summary["before"]["overall"]), ("after", summary["after"]["overall"])]
    shown = [(name, [100 * rate[key] for key in ("mean", "low", "high")]) for name, rate in rows]
    table = [f"| {name} | {mean:.1f} | [{low:.1f}, {high:.1f}] |" for name, (mean, low, high) in shown]
    problems = f"{summary['after']['problems']} held-out problems x {summary['after']['samples']}"
    return [f"Accuracy in percent with 95% intervals, {problems}:", "", "| | accuracy | interval |", "|---|---|---|",
            *table, ""]  # fmt: skip
