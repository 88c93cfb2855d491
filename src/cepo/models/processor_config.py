"""What a saved processor says of itself. No transformers here: the suites read it without."""

from __future__ import annotations

from typing import Any

__all__ = ["IMAGE_ONLY", "as_qwen3_vl"]

IMAGE_ONLY = "ImageOnlyProcessor"
"""Our class for Qwen3-VL where torchvision is missing. AutoProcessor does not know it, and falls back to the
tokenizer without a word: the model would answer without the images."""


def as_qwen3_vl(config: dict[str, Any]) -> dict[str, Any]:
    """A `processor_config.json` of ours in transformers' own words, which want a video processor too."""
    images = config["image_processor"]
    kept = ("image_mean", "image_std", "merge_size", "patch_size", "temporal_patch_size")
    videos = {name: images[name] for name in kept if name in images}
    videos["video_processor_type"] = "Qwen3VLVideoProcessor"
    return config | {"processor_class": "Qwen3VLProcessor", "video_processor": videos}
