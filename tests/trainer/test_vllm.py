"""What is handed to vLLM, against the signatures of TRL's that take it; vLLM itself is not installed here."""

from __future__ import annotations

import ast
import inspect
import textwrap
import threading
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from trl import GRPOConfig, GRPOTrainer
from trl.generation.vllm_client import VLLMClient
from trl.generation.vllm_generation import VLLMGeneration

from cepo import CEPOConfig, CEPOTrainer
from cepo.runs.recipe import PACKAGED, load_recipe, parse_overrides, resolve_recipe
from cepo.trainer import vllm

SERVER = ["--vllm_mode", "server", "--vllm_server_base_url"]
RUNS = [path for path in sorted(PACKAGED.glob("*/*.yaml")) if path.stem != "base" and path.parent.name != "accelerate"]


def tree(function: Any) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def the_call(function: Any, name: str) -> ast.Call:
    """The one call of `name` in the source of a function."""
    calls = [node for node in ast.walk(tree(function)) if isinstance(node, ast.Call)]
    (found,) = [call for call in calls if ast.unparse(call.func).split(".")[-1] == name]
    return found


def config(tmp_path: Path, recipe: str, *words: str) -> CEPOConfig:
    values = load_recipe(Path(recipe)) | {"output_dir": str(tmp_path), "bf16": "false"}
    return resolve_recipe(values | parse_overrides(words))[1]


def test_recipes_set_what_trl_reads() -> None:
    known = {entry.name for entry in fields(GRPOConfig)}
    start = the_call(GRPOTrainer.__init__, "VLLMGeneration")
    read = {node.attr for node in ast.walk(start) if isinstance(node, ast.Attribute)}
    used = {name for path in RUNS for name in load_recipe(path) if "vllm" in name}
    used |= {word.removeprefix("--") for word in SERVER if word.startswith("--")}
    assert {"use_vllm", "vllm_mode", "vllm_max_model_length", "vllm_server_base_url"} <= used <= known
    assert used - {"use_vllm"} <= read, "TRL no longer hands these to its vLLM"


def test_what_trl_hands_on_fits_the_engine_and_the_client() -> None:
    start = the_call(GRPOTrainer.__init__, "VLLMGeneration")
    taken = inspect.signature(VLLMGeneration).parameters
    assert {keyword.arg for keyword in start.keywords} <= set(taken)
    dicts = [node for node in ast.walk(tree(VLLMGeneration.generate)) if isinstance(node, ast.Dict)]
    sent = [{ast.literal_eval(key) for key in node.keys if key is not None} for node in dicts]
    asked = max(sent, key=len)
    inspect.signature(VLLMClient.generate).bind(None, prompts=[], features=None, **dict.fromkeys(asked))
    # `never_sample_an_image` bans through this attribute; it reaches the client and, colocated, SamplingParams.
    assert "generation_kwargs" in asked
    assert "generation_kwargs.update(self.generation_kwargs)" in inspect.getsource(VLLMGeneration.generate)
    assert "self.generation_kwargs" in inspect.getsource(VLLMGeneration.__init__)


@pytest.mark.parametrize("recipe", ["geometry3k/cepo.yaml", "geometry3k_4b/rlsd.yaml", "dapo_math/cepo.yaml"])
def test_both_forms(recipe: str, tmp_path: Path) -> None:
    colocated = config(tmp_path, recipe)
    assert (colocated.use_vllm, colocated.vllm_mode, colocated.vllm_max_model_length) == (True, "colocate", 8192)
    assert (colocated.max_completion_length or 0) < 8192
    served = config(tmp_path, recipe, *SERVER, "http://host:8000")
    assert (served.vllm_mode, served.vllm_server_base_url) == ("server", "http://host:8000")


def test_without_vllm_nothing_is_loaded(tmp_path: Path) -> None:
    args = CEPOConfig(output_dir=str(tmp_path), use_vllm=True, use_cpu=True, bf16=False)
    with pytest.raises(ImportError, match=r"pip install 'cepo\[vllm\]'"):
        CEPOTrainer("no-such-model", lambda **_: [], args)


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_the_doctor_looks_for_the_server(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        served = config(tmp_path, "geometry3k/cepo.yaml", *SERVER, url)
        found = vllm.vllm_server("Qwen/Qwen3-VL-2B-Instruct", served)
        assert (found.verdict, found.seen) == ("ok", f"{url} answers")
        server.shutdown()
    found = vllm.vllm_server("Qwen/Qwen3-VL-2B-Instruct", served)
    assert found.verdict == "fail"
    assert url in found.seen
    for words in (
        "VLLM_SERVER_DEV_MODE=1 vllm serve Qwen/Qwen3-VL-2B-Instruct",
        f"--port {url.rpartition(':')[2]} ",
        "--weight-transfer-config",
        "--logprobs-mode processed_logprobs",
        "--max-model-len 8192",
    ):
        assert words in found.remedy


def test_the_doctor_knows_trls_range(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = vllm.version
    for have, verdict in (("0.24.0+cu129", "ok"), ("0.8.5", "fail")):
        monkeypatch.setattr(vllm, "version", lambda name, have=have: have if name == "vllm" else installed(name))
        assert vllm.vllm_package().verdict == verdict
