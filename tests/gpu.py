"""Whether the tests that train do so on a GPU: `make test-gpu` sets it, on a machine that has one."""

import os

__all__ = ["ON_GPU"]

ON_GPU = os.environ.get("CEPO_TEST_GPU") == "1"
