"""Shapes are checked and draws are repeatable in every test. Runs before any test module imports cepo."""

import torch
from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook(["cepo.credit", "cepo.scoring"], "beartype.beartype")
torch.set_num_threads(1)

settings.register_profile("cepo", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("cepo")
