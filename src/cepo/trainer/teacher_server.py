"""Log-probs from an OpenAI-compatible server, as vLLM's: `prompt_logprobs` of prompts given as token ids."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

import torch
from torch import Tensor

from cepo.errors import SettingError, TeacherError
from cepo.scoring import ScoreRow
from cepo.scoring.plan import unique_rows
from cepo.trainer.teacher_specs import TeacherSpec

__all__ = ["ServerScorer"]

FIRST_WAIT_S = 0.5
"""Before a second try; doubled before each further one."""
SHOWN = 200


class _Again(Exception):
    """What may be gone when asked again."""


@dataclass(frozen=True, slots=True)
class ServerScorer:
    """Scores completions under prompts on a server, whatever its precision is.

    Attributes:
        spec: where it is, and how patiently it is asked.
        device: where the log-probs go.
        decode: the student's text of one token's id, held against the server's.
    """

    spec: TeacherSpec
    device: torch.device
    decode: Callable[[int], str]

    def __call__(self, sequences: Sequence[ScoreRow], width: int) -> Tensor:
        """Log-probs (N, width), nats, 0 on padding.

        Raises:
            SettingError: rows with images, or another tokenizer on the server.
            TeacherError: no answer after the tries that are allowed, or one that cannot be used.
        """
        kept, place = unique_rows(sequences)
        rows, size = [sequences[index] for index in kept], self.spec.rows_per_request
        if any(row.images is not None for row in rows):
            raise SettingError(f"teachers.{self.spec.name}: a server is sent token ids, and these rows have images")
        found = torch.zeros(len(rows), width)
        for start in range(0, len(rows), size):
            for index, logps in enumerate(self._scored(rows[start : start + size]), start):
                found[index, : len(logps)] = torch.tensor(logps)
        return found[place].to(self.device)

    def floor(self, rows: Sequence[ScoreRow]) -> float:
        """The largest difference, nats, between rows that are sent together and the same rows sent alone."""
        width = max(len(row.completion_ids) for row in rows)
        alone = torch.cat([self([row], width) for row in rows])
        return (self(rows, width) - alone).abs().max().item()

    def _scored(self, rows: Sequence[ScoreRow]) -> list[list[float]]:
        ids = [[*row.prompt_ids, *row.completion_ids] for row in rows]
        body = {"model": self.spec.model, "prompt": ids, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        choices = self._asked(body).get("choices")
        if not isinstance(choices, list) or len(choices) != len(rows):
            got = len(choices) if isinstance(choices, list) else "no"
            raise self._error(f"gave {got} answers to {len(rows)} prompts")
        ordered = sorted(choices, key=lambda choice: choice.get("index", 0))
        return [self._completion(row, own, choice) for row, own, choice in zip(rows, ids, ordered, strict=True)]

    def _completion(self, row: ScoreRow, ids: Sequence[int], choice: Mapping[str, Any]) -> list[float]:
        entries = choice.get("prompt_logprobs")
        if not isinstance(entries, list):
            raise self._error("gave no prompt_logprobs: is it vLLM's, and of a version that has them?")
        if len(entries) != len(ids):
            raise self._error(f"gave log-probs of {len(entries)} tokens of a sequence of {len(ids)}")
        return [
            self._logp(token, entry)
            for token, entry in zip(ids[len(row.prompt_ids) :], entries[len(row.prompt_ids) :], strict=True)
        ]

    def _logp(self, token: int, entry: Any) -> float:
        own = entry.get(str(token)) if isinstance(entry, Mapping) else None
        if not isinstance(own, Mapping) or not isinstance(own.get("logprob"), int | float):
            raise self._error(f"gave no log-prob of token {token}, which it was sent")
        theirs, ours = own.get("decoded_token"), self.decode(token)
        if theirs is not None and "\ufffd" not in f"{theirs}{ours}" and theirs.strip() != ours.strip():
            raise SettingError(
                f"teachers.{self.spec.name}: its tokenizer does not agree: id {token} is {theirs!r} there and {ours!r} "
                "for the student; serve a model with the student's tokenizer"
            )
        return float(own["logprob"])

    def _asked(self, body: Mapping[str, object]) -> Mapping[str, Any]:
        wait, tries = FIRST_WAIT_S, self.spec.retries + 1
        for attempt in range(1, tries + 1):
            try:
                return self._once(body)
            except _Again as error:
                if attempt == tries:
                    raise self._error(f"gave no answer in {tries} tries: {error}") from error
                time.sleep(wait)
                wait *= 2
        raise AssertionError("unreachable")

    def _once(self, body: Mapping[str, object]) -> Mapping[str, Any]:
        address = f"{str(self.spec.server).rstrip('/').removesuffix('/v1')}/v1/completions"
        request = urllib.request.Request(
            address, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=self.spec.timeout) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            said = f"{error.code} {error.reason}: {error.read()[:SHOWN].decode(errors='replace')}"
            if error.code < 500 and error.code != 429:
                raise self._error(f"refuses: {said}") from error
            raise _Again(said) from error
        except TimeoutError as error:
            raise _Again(f"nothing came within {self.spec.timeout:g} s") from error
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            late = isinstance(reason, TimeoutError)
            raise _Again(f"nothing came within {self.spec.timeout:g} s" if late else str(reason)) from error
        if not isinstance(found, Mapping):
            raise self._error(f"answered {found!r:.80}")
        return found

    def _error(self, what: str) -> TeacherError:
        return TeacherError(f"teachers.{self.spec.name}: the server {self.spec.server} {what}")
