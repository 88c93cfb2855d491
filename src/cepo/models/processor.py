"""An image-only processor for Qwen3-VL: what remains of it where torchvision cannot be installed.

transformers' own `Qwen3VLProcessor` insists on a video processor, which needs torchvision. Ours declares an
image processor (the Pillow back end) and a tokenizer and inherits the rest: placeholder expansion, the chat
template, `mm_token_type_ids`, `save_pretrained`.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, AutoProcessor, AutoTokenizer, PreTrainedTokenizerBase, ProcessorMixin
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.utils.import_utils import is_torchvision_available

__all__ = ["ImageOnlyProcessor", "load_processor"]


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


def _saved_by_us(path: str, revision: str | None) -> bool:
    saved, _ = ProcessorMixin.get_processor_dict(path, revision=revision or "main")
    return saved.get("processor_class") == ImageOnlyProcessor.__name__
