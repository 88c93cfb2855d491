"""Lets torchvision from PyPI (built for CUDA) be imported beside the CPU build of torch.

On the PYTHONPATH of lmms-eval's environment on a machine without the CPU build of torchvision. The compiled
library is absent then; declaring two of its operators is all that the import wants, and Qwen3-VL uses none.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import Any


class _BeforeTorchvision(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname != "torchvision":
            return
        sys.meta_path.remove(self)
        import torch

        self.library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            self.library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        globals()["_kept"] = self


sys.meta_path.insert(0, _BeforeTorchvision())
