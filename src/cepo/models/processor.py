"""An image-only processor for Qwen3-VL: what remains of it where torchvision cannot be installed.

transformers' own `Qwen3VLProcessor` insists on a video processor, which needs torchvision. Ours declares an
image processor (the Pillow back end) and a tokenizer and inherits the rest: placeholder expansion, the chat
template, `mm_token_type_ids`, `save_pretrained`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from transformers import AutoConfig, AutoProcessor, AutoTokenizer, PreTrainedTokenizerBase, ProcessorMixin
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.utils.import_utils import is_torchvision_available

from cepo.errors import SettingError

__all__ = ["ImageOnlyProcessor", "fix_template_arguments", "load_processor", "set_chat_template"]


class ImageOnlyProcessor(Qwen3VLProcessor):
    """Qwen3-VL's processor without videos. Saved folders load with transformers' own class as well."""

    # The signature is the declaration: ProcessorMixin reads a processor's parts from it, so that no
    # `video_processor` may appear here.
    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None):
        for name, token in (
            ("image", "<|image_pad|>"),
            ("video", "<|video_pad|>"),
            ("vision_start", "<|vision_start|>"),
            ("vision_end", "<|vision_end|>"),
        ):
            setattr(self, f"{name}_token", token)
            setattr(self, f"{name}_token_id", tokenizer.convert_tokens_to_ids(token))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def load_processor(
    path: str, *, trust_remote_code: bool = False, revision: str | None = None
) -> ProcessorMixin | PreTrainedTokenizerBase:
    """Load what turns text (and images) into the model's inputs, padding and truncating on the left.

    A vision-language checkpoint gives a processor, a text one a tokenizer. Qwen3-VL checkpoints fall back to
    `ImageOnlyProcessor` where torchvision is missing.
    """
    options: dict[str, Any] = {
        "trust_remote_code": trust_remote_code,
        "revision": revision,
        "padding_side": "left",
        "truncation_side": "left",
    }
    config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code, revision=revision)
    if config.model_type == "qwen3_vl" and (_saved_by_us(path, revision) or not is_torchvision_available()):
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        images = Qwen2VLImageProcessorPil.from_pretrained(path, revision=revision or "main")
        return ImageOnlyProcessor(images, tokenizer, chat_template=tokenizer.chat_template)
    return AutoProcessor.from_pretrained(path, **options)


def set_chat_template(processor: Any, template: str) -> None:
    """Of a processor and of the tokenizer in it."""
    for holder in (processor, getattr(processor, "tokenizer", None)):
        if holder is not None:
            holder.chat_template = template


def fix_template_arguments(processor: Any, arguments: Mapping[str, object]) -> None:
    """Write the chat template's arguments into the template, as the values that it has where it is given none.

    So that whoever reads the saved processor (another evaluation, vLLM) renders prompts as training did.

    Raises:
        SettingError: an argument that is no text, number, truth value or None.
    """
    template = getattr(processor, "chat_template", None)
    if not arguments or not isinstance(template, str):
        return
    lines = []
    for name, value in sorted(arguments.items()):
        if not isinstance(value, str | int | float | bool | None):
            raise SettingError(
                f"chat_template_kwargs: {name}={value!r} cannot be kept in the saved chat template; give texts, "
                "numbers or truth values"
            )
        literal = "none" if value is None else json.dumps(value)  # jinja's true, false, numbers and texts are JSON's
        lines.append(f"{{%- if {name} is not defined %}}{{%- set {name} = {literal} %}}{{%- endif %}}")
    set_chat_template(processor, "\n".join([*lines, "{#- -#}"]) + template)


def _saved_by_us(path: str, revision: str | None) -> bool:
    saved, _ = ProcessorMixin.get_processor_dict(path, revision=revision or "main")
    return saved.get("processor_class") == ImageOnlyProcessor.__name__
