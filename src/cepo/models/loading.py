"""Loading a model with its processor, wherever it lies: a shipped one, a hub id, a folder, an adapter, a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft import PeftModel
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.utils.logging import disable_progress_bar

from cepo.errors import ModelError, SettingError
from cepo.models.embedded import SHIPPED, resolve
from cepo.models.packed import four_bits
from cepo.models.processor import load_processor, set_chat_template
from cepo.models.where import weights_of

__all__ = ["Processor", "load_checkpoint", "load_config_and_processor", "load_model"]

DTYPES = ("auto", "float32", "bfloat16", "float16")
_ADAPTER = "adapter_config.json"

Processor = ProcessorMixin | PreTrainedTokenizerBase
"""What turns text, and images where the model sees them, into the model's inputs."""


def load_checkpoint(
    name: str | Path,
    *,
    base: str | None = None,
    dtype: str = "auto",
    attention: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, Processor]:
    """A model to use, and its processor: of a name in `SHIPPED`, a hub id, or the folder of a model, adapter or run.

    An adapter is merged into its base model. The processor is the adapter's own where it was saved with one.

    Args:
        base: the model that an adapter was trained on; without it, the one that the adapter names.

    Raises:
        ModelError: what could not be loaded, and what can be given.
    """
    folder = weights_of(Path(name).expanduser())
    if not (folder / _ADAPTER).is_file():
        return load_model(str(folder) if folder.exists() else str(name), dtype, attention, trust_remote_code)
    base = _base_of(folder) if base is None else base
    model, processor = load_model(base, dtype, attention, trust_remote_code)
    if isinstance(processor, PreTrainedTokenizerBase) and (folder / "tokenizer_config.json").is_file():
        processor = AutoTokenizer.from_pretrained(folder, padding_side="left", truncation_side="left")
    elif (template := folder / "chat_template.jinja").is_file():
        set_chat_template(processor, template.read_text())
    return _merged(model, folder, base), processor


def load_model(
    name: str, dtype: str, attention: str | None, trust_remote_code: bool, *, in_4bit: bool = False
) -> tuple[PreTrainedModel, Processor]:
    """A model as it is to be trained: a name in `SHIPPED` such as `tiny`, a folder or a hub id.

    `in_4bit`: with packed weights, which cannot be trained themselves. Raises ModelError as `load_checkpoint` does.
    """
    if dtype not in DTYPES:
        raise SettingError(f"unknown dtype {dtype!r}; choose from {', '.join(DTYPES)}")
    path = _located(name)
    if Path(path) in SHIPPED.values():
        disable_progress_bar()  # loading and saving 10 MB at most: nothing to watch
    config, processor = load_config_and_processor(name, trust_remote_code)
    packed = four_bits(dtype) if in_4bit else None
    kind = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
    with _named(name):
        model = kind.from_pretrained(
            path,
            dtype=dtype,
            attn_implementation=attention,
            trust_remote_code=trust_remote_code,
            quantization_config=packed,
        )
    return model, processor


def load_config_and_processor(name: str, trust_remote_code: bool) -> tuple[PretrainedConfig, Processor]:
    """What a model says about itself, without its weights. Raises ModelError as `load_checkpoint` does."""
    path = _located(name)
    with _named(name):
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
        return config, load_processor(path, trust_remote_code=trust_remote_code)


def _merged(model: PreTrainedModel, adapter: Path, base: str) -> PreTrainedModel:
    try:
        adapted = PeftModel.from_pretrained(model, adapter)
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"cannot load the adapter {adapter} onto {base!r}: {reason}. Was it written to its end, and for this model?"
        ) from error
    return adapted.merge_and_unload()  # pyright: ignore[reportCallIssue]


def _base_of(adapter: Path) -> str:
    """The base model that an adapter names; the embedded model of another installation is this one's."""
    file = adapter / _ADAPTER
    try:
        base = json.loads(file.read_text()).get("base_model_name_or_path")
    except json.JSONDecodeError as error:
        raise ModelError(f"{file} is not JSON ({error}): the adapter was not written to its end") from None
    if not base:
        raise ModelError(f"{file} names no base model: set its base_model_name_or_path")
    for name, folder in SHIPPED.items():
        if base == str(folder) or (Path(base).name == folder.name and not Path(base).exists()):
            return name
    return base


def _located(name: str) -> str:
    """What transformers is given: a folder by its whole path, which an adapter will name as its base."""
    path = Path(resolve(name)).expanduser()
    return str(path.absolute()) if path.is_dir() else name


@contextmanager
def _named(name: str) -> Iterator[None]:
    """transformers' errors in one sentence that names the model."""
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ModelError(
            f"cannot load the model {name!r}: {reason}. Give {', '.join(SHIPPED)}, a folder with config.json and "
            "safetensors, or a hub id that this machine can reach."
        ) from error
