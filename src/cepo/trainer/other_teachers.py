"""Teachers that are not the policy: other checkpoints in memory, and models on servers, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from cepo.credit.references import teacher_of
from cepo.credit.step import ScoreRequest
from cepo.errors import ModelError, SettingError
from cepo.models.loading import load_checkpoint
from cepo.scoring import ScoreRow
from cepo.scoring.weights import Teacher
from cepo.trainer.probing import Probing
from cepo.trainer.scorer import Scorer
from cepo.trainer.teacher_server import ServerScorer
from cepo.trainer.teacher_specs import DEFAULT, TeacherSpec

__all__ = ["OtherTeachers", "check_tokenizer"]

Score: TypeAlias = Callable[[Sequence[ScoreRow], int], Tensor]
"""Sequences and a width -> log-probs (N, width), nats."""


@dataclass(slots=True)
class OtherTeachers:
    """What scores under each name; without an entry `default` is the policy's own scorer."""

    scorers: dict[str, Score] = field(default_factory=dict)
    models: dict[str, nn.Module] = field(default_factory=dict)

    @classmethod
    def load(
        cls, specs: Mapping[str, TeacherSpec], scorer: Scorer, tokenizer: PreTrainedTokenizerBase, trust: bool
    ) -> OtherTeachers:
        """Bring checkpoints into memory, on every process.

        Raises:
            ModelError: one cannot be loaded, or its tokenizer gives other ids than the student's.
        """
        others = cls()
        for name, spec in specs.items():
            if spec.server is not None:
                others.scorers[name] = ServerScorer(
                    spec, scorer.accelerator.device, lambda token: str(tokenizer.decode([token]))
                )
                continue
            model = _loaded(spec, scorer, tokenizer, trust)
            others.models[name] = model
            alone = replace(scorer, is_sharded=False, balance=False)  # is asked only where a process has rows for it
            others.scorers[name] = replace(alone, policy=lambda own=model: own, teacher=Teacher())
        return others

    def probe(self, rows: Sequence[ScoreRow], probing: Probing) -> dict[str, float]:
        """Compare checkpoints' scoring with their own forward; name -> floor, nats, of what servers give.

        Raises:
            ModelError: the evidence would not be the model's.
            TeacherError: a server does not answer as it must.
        """
        for name, model in self.models.items():
            found = probing(model, rows)
            self.scorers[name] = replace(cast(Scorer, self.scorers[name]), share=found.shares)
        servers = {name: one for name, one in self.scorers.items() if isinstance(one, ServerScorer)}
        return {name: server.floor(rows) for name, server in servers.items()}

    def score(self, requests: Sequence[ScoreRequest], width: int, policys: Score, device: torch.device) -> Tensor:
        """Log-probs (N, width), each by the teacher that its prompt names. A collective call where the policy's is."""
        names = [teacher_of(request.prompt) or DEFAULT for request in requests]
        found_NT = torch.zeros(len(requests), width, device=device)
        for name in sorted({*names, DEFAULT}):
            places = [place for place, own in enumerate(names) if own == name]
            scorer = self.scorers.get(name, policys)
            if places or scorer is policys:
                found_NT[places] = scorer([requests[place].sequence for place in places], width).to(device)
        return found_NT


def _loaded(spec: TeacherSpec, scorer: Scorer, tokenizer: PreTrainedTokenizerBase, trust: bool) -> nn.Module:
    model, processor = load_checkpoint(spec.model, dtype=spec.dtype, trust_remote_code=trust)
    own = cast(PreTrainedTokenizerBase, getattr(processor, "tokenizer", processor))
    check_tokenizer(f"teachers.{spec.name} ({spec.model})", own, tokenizer)
    outputs = model.get_output_embeddings()
    if outputs is not None and outputs.weight.shape[0] < len(tokenizer):
        raise ModelError(
            f"teachers.{spec.name} ({spec.model}) knows {outputs.weight.shape[0]} tokens, the student's tokenizer "
            f"has {len(tokenizer)}"
        )
    model.requires_grad_(False).eval()
    try:
        return model.to(cast(Any, spec.device or scorer.accelerator.device))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(f"teachers.{spec.name}: it cannot be brought to device={spec.device!r}: {reason}") from error


def check_tokenizer(name: str, teacher: PreTrainedTokenizerBase, student: PreTrainedTokenizerBase) -> None:
    """Every id means the same token to both: the teacher scores the student's own ids.

    Raises:
        ModelError: with a token about which they differ.
    """
    theirs = teacher.get_vocab()
    unlike = [(token, index) for token, index in student.get_vocab().items() if theirs.get(token) != index]
    if unlike:
        token, index = min(unlike, key=lambda one: one[1])
        raise ModelError(
            f"{name} has another tokenizer than the student: {len(unlike)} of {len(student)} tokens differ, such as "
            f"{token!r}, which is {index} for the student and {theirs.get(token)} there; choose a teacher of the "
            "student's family"
        )
