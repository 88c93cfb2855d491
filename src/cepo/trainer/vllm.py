"""vLLM as TRL needs it: which versions, and how its server is started."""

from __future__ import annotations

import shlex
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, requires, version
from urllib.parse import urlsplit
from urllib.request import urlopen

from packaging.requirements import Requirement
from packaging.version import Version
from trl.scripts.vllm_serve import ScriptArguments, build_command

from cepo.models.embedded import resolve
from cepo.trainer.config import CEPOConfig
from cepo.trainer.finding import Finding

__all__ = ["server_command", "vllm_package", "vllm_server"]


def vllm_package() -> Finding:
    """The installed version against those that TRL works with."""
    try:
        have = version("vllm")
    except PackageNotFoundError:
        return Finding(
            "vllm", "fail", "use_vllm: true, but vllm is not installed", "pip install 'cepo[vllm]', or use_vllm: false"
        )
    for wanted in map(Requirement, requires("trl") or []):
        # Without its local part: 0.24.0+cu129 is 0.24.0.
        if wanted.name == "vllm" and not wanted.specifier.contains(Version(have).base_version):
            return Finding(
                "vllm", "fail", f"{have}, TRL works with {wanted.specifier}", f"pip install 'vllm{wanted.specifier}'"
            )
    return Finding("vllm", "ok", have)


def vllm_server(model: str, config: CEPOConfig) -> Finding:
    """Whether the server that the trainer will ask answers, and how to start it."""
    url = config.vllm_server_base_url or f"http://{config.vllm_server_host}:{config.vllm_server_port}"
    try:
        with urlopen(f"{url}/health", timeout=3):
            return Finding("vllm server", "ok", f"{url} answers")
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        started = f"on its machine: {shlex.join(server_command(model, config))}"
        return Finding("vllm server", "fail", f"{url} does not answer ({reason})", started)


def server_command(model: str, config: CEPOConfig) -> list[str]:
    """The words that start vLLM's server as TRL's client needs it (TRL keeps the list of its flags)."""
    port = urlsplit(config.vllm_server_base_url).port if config.vllm_server_base_url else config.vllm_server_port
    wanted = ScriptArguments(model=resolve(model), port=port or 80, max_model_len=config.vllm_max_model_length)
    words = build_command(wanted)
    return ["env", "VLLM_SERVER_DEV_MODE=1", "vllm", *words[words.index("serve") :]]
