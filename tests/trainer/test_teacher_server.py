"""A teacher on a server, against a small one of our own that really scores: retries, errors, precision, refusals."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cepo.errors import SettingError, TeacherError
from cepo.scoring import Images, ScoreRow
from cepo.trainer import teacher_server
from cepo.trainer.teacher_server import ServerScorer
from cepo.trainer.teacher_specs import TeacherSpec
from tests.runs.small import write_model
from tests.trainer.small_text import build
from tests.trainer.test_other_teachers import credited

pytestmark = pytest.mark.long


class Server:
    """vLLM's answers to `/v1/completions` with `prompt_logprobs`. `faults`: what goes wrong with the next requests."""

    def __init__(self, folder: Path) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.faults: list[str] = []
        self.sizes: list[int] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.sizes.append(len(body["prompt"]))
                fault = owner.faults.pop(0) if owner.faults else ""
                if fault == "dies":
                    self.connection.close()
                    return
                if fault == "slow":
                    time.sleep(0.5)
                status = 503 if fault == "busy" else 400 if fault == "unknown" or body["model"] != "large" else 200
                said = owner.answer(body, fault) if status == 200 else {"error": f"{status} for {body['model']}"}
                text = json.dumps(said).encode()[: 20 if fault == "cut" else None]
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)
                except OSError:
                    pass  # whoever asked has gone

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, body: Any, fault: str) -> dict[str, Any]:
        choices = [{"index": i, "prompt_logprobs": self.logps(ids, fault)} for i, ids in enumerate(body["prompt"])]
        if fault == "fewer answers":
            choices.pop()
        return {"choices": choices[::-1]}  # in an order of its own

    def logps(self, ids: list[int], fault: str) -> list[Any] | None:
        with torch.no_grad():
            logp_TV = self.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
        entries: list[Any] = [None]
        for place, token in enumerate(ids[1:]):
            text = "other" if fault == "other tokenizer" else self.tokenizer.decode([token])
            entry = {"logprob": logp_TV[place, token].item(), "rank": 1, "decoded_token": text}
            entries.append({str(token + (fault == "other token")): entry})
        return None if fault == "no logprobs" else entries[: -1 if fault == "fewer tokens" else None]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("small") / "model")


@pytest.fixture(scope="module")
def started(small: Path) -> Iterator[Server]:
    server = Server(small)
    yield server
    server.http.shutdown()


@pytest.fixture
def server(started: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(teacher_server, "FIRST_WAIT_S", 0.01)
    started.faults, started.sizes = [], []
    return started


def scorer(server: Server, **fields: Any) -> ServerScorer:
    given = {"server": server.url, "model": "large", "precision": "float32", **fields}
    spec = TeacherSpec("far", **given)
    return ServerScorer(spec, torch.device("cpu"), lambda token: server.tokenizer.decode([token]))


ROWS = [ScoreRow([1, 2, 3], [4, 5]), ScoreRow([7], [8, 9, 10]), ScoreRow([3, 4], [5], None, 1)]


def expected(server: Server) -> torch.Tensor:
    found = torch.zeros(3, 4)
    for place, row in enumerate(ROWS):
        entries = server.logps([*row.prompt_ids, *row.completion_ids], "")
        own = [next(iter(entry.values()))["logprob"] for entry in (entries or [])[len(row.prompt_ids) :]]
        found[place, : len(own)] = torch.tensor(own)
    return found


def test_it_scores_as_the_model_does_in_batches(server: Server) -> None:
    found = scorer(server, rows_per_request=2)([*ROWS, ROWS[2]], 4)
    torch.testing.assert_close(found, expected(server)[[0, 1, 2, 2]])
    assert server.sizes == [2, 1], "equal rows are sent once"
    assert scorer(server)([], 4).shape == (0, 4)


def test_what_passes_is_tried_again(server: Server) -> None:
    server.faults = ["busy", "dies", "cut"]
    torch.testing.assert_close(scorer(server)(ROWS, 4), expected(server))
    assert len(server.sizes) == 4


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("busy", "gave no answer in 3 tries: 503 .*503 for large"),
        ("dies", "gave no answer in 3 tries: "),
        ("slow", r"gave no answer in 3 tries: nothing came within 0\.1 s"),
        ("cut", "gave no answer in 3 tries"),
        ("fewer answers", "gave 2 answers to 3 prompts"),
        ("fewer tokens", "gave log-probs of 4 tokens of a sequence of 5"),
        ("no logprobs", "gave no prompt_logprobs"),
        ("other token", "gave no log-prob of token 4, which it was sent"),
        ("unknown", "refuses: 400 .*400 for large"),
    ],
)
def test_what_stays_wrong_is_one_error(fault: str, words: str, server: Server) -> None:
    server.faults = [fault] * 3
    with pytest.raises(TeacherError, match=rf"^teachers.far: the server {server.url} {words}"):
        scorer(server, retries=2, timeout=0.1 if fault == "slow" else 5.0)(ROWS, 4)


def test_what_cannot_be_asked(server: Server) -> None:
    server.faults = ["other tokenizer"]
    with pytest.raises(SettingError, match="its tokenizer does not agree: id 4 is 'other' there"):
        scorer(server)(ROWS, 4)
    with pytest.raises(SettingError, match="these rows have images"):
        scorer(server)([ScoreRow([1], [2], Images(torch.zeros(1), torch.zeros(1)))], 4)


def test_a_run_is_taught_by_it_and_logs_its_floor(server: Server, small: Path, tmp_path: Path) -> None:
    far: dict[str, Any] = {"server": f"{server.url}/v1", "model": "large", "precision": "float32"}
    fields: dict[str, Any] = {"shuffle_dataset": False, "null_control_every": 1}
    here = build(small, tmp_path, **fields)
    there = build(small, tmp_path, teachers={"default": far}, **fields)
    floor = there._metrics["train"]["teacher/default_floor"]
    assert len(floor) == 1
    assert floor[0] < 1e-4
    own, other = credited(here), credited(there)
    assert list(own.rows) == list(other.rows) != []
    for row in own.rows:
        torch.testing.assert_close(own.logps[row]["plus"], other.logps[row]["plus"], atol=1e-4, rtol=1e-4)
    assert there._metrics["train"]["credit/null_p90"], "the null control is the server's"
    server.faults = ["unknown"]
    with pytest.raises(TeacherError, match="refuses"):
        there.train()


@pytest.mark.parametrize(
    ("fields", "far", "words"),
    [
        ({}, {"precision": None}, "a server scores in a precision of its own, and method='cepo' reads"),
        ({"method": "opsd"}, {}, "method='opsd' reads distributions"),
        ({"temperature": 0.7}, {}, r"rollouts have temperature=0.7; use 1"),
    ],
)
def test_refusals(fields: Any, far: Any, words: str, small: Path, tmp_path: Path) -> None:
    given = {"server": "http://127.0.0.1:1", "model": "large", "precision": "bfloat16", **far}
    with pytest.raises(SettingError, match=words):
        build(small, tmp_path, teachers={"default": given}, **fields)
