"""Shapes are checked and draws are repeatable in every test. Runs before any test module imports cepo."""

import os
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start, too: two workers share two cores

import pytest
import torch
from hypothesis import Phase, settings
from jaxtyping import install_import_hook

install_import_hook(["cepo.credit", "cepo.scoring"], "beartype.beartype")
torch.set_num_threads(1)

settings.register_profile("cepo", max_examples=40, deadline=None, derandomize=True)
settings.load_profile("cepo")
# Of `make mutants`: a draw that fails is enough, it need not be made small.
settings.register_profile("mutants", settings.get_profile("cepo"), phases=(Phase.explicit, Phase.generate))


@pytest.fixture
def own_registrations() -> Iterator[None]:
    """Methods and prompts that a test registers are forgotten after it."""
    from cepo.credit.references import SOURCES
    from cepo.credit.rules import METHODS

    before = [(registry, dict(registry)) for registry in (METHODS, SOURCES)]
    yield
    for registry, content in before:
        registry.clear()
        registry.update(content)
