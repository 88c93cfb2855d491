"""Warm-starts the embedded text model by supervised training: `python -m cepo.lab.warm_start_text --out FOLDER`.

It learns the noisy solutions of a policy with misconceptions (`cepo.chain.policy`) to chains: of plain prompts, of
prompts that carry the answer which that solution reaches, and of prompts that carry a whole other noisy solution,
which is followed while on its track. The words around them are those of `cepo.credit.prompts`, so that the teachers'
conditioning on r+ and r-, answers or solutions, means something.

The weights in the package came from the default arguments; the log stands beside them.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from datasets import Dataset
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from cepo.chain.policy import Misconceptions
from cepo.chain.problems import BASE, Chain, draw, split_of
from cepo.chain.wording import filler_pieces, question, solution, words
from cepo.credit.prompts import TeacherPrompts
from cepo.data.datasets import DataSpec, load_data
from cepo.data.rows import user_prompt
from cepo.evaluate import generate_answers
from cepo.glossary import Prompt
from cepo.lab.noisy import Kind, NoisySettings, draw_kind, learning_rate, vocabulary, weighted_loss
from cepo.lab.shipping import Log, command, save_with_log
from cepo.models.embedded_text import build_text_model, build_text_tokenizer


@dataclass(frozen=True)
class Settings(NoisySettings):
    """Everything that the weights depend on.

    Every batch is of one kind, so that all its rows have one length. It begins with plain prompts and operands of 0
    and 1: a value depends on three tokens at once, and nothing points to any of them until a step changes little.
    Whenever the loss falls below `good_enough`, the next digit joins the operands, and the other kinds once all have.
    """

    chain_steps: int = 6
    fillers: int = 3
    steps: int = 1400
    good_enough: float = 0.5
    batch: int = 64
    warm_up: int = 100
    evaluate_every: int = 100
    evaluate_problems: int = 250

    @property
    def data(self) -> str:
        return f"chain:steps={self.chain_steps},fillers={self.fillers}"


class Rows:
    """Supervised rows of one kind at a time."""

    def __init__(self, settings: Settings, tokenizer: PreTrainedTokenizerFast) -> None:
        self.settings, self.tokenizer = settings, tokenizer
        self.policy = Misconceptions(settings.seed)
        self.rng = Random(f"warm-start-text/{settings.seed}")
        self.prompts = TeacherPrompts(tokenizer, self.render)
        self.operands = 2
        self.recent = float("inf")

    def render(self, prompt: Prompt) -> str:
        return str(self.tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False))  # pyright: ignore[reportArgumentType]

    def learnt(self, loss: float) -> None:
        """Make the curriculum harder once the running mean of the loss allows it."""
        self.recent = loss if self.recent == float("inf") else 0.9 * self.recent + 0.1 * loss
        if self.operands < BASE and self.recent < self.settings.good_enough:
            self.operands, self.recent = self.operands + 1, float("inf")

    def kind(self) -> Kind:
        if self.operands < BASE:
            return "plain"
        return draw_kind(self.rng, self.settings.answer_share, self.settings.rationale_share)

    def batch(self, kind: Kind) -> tuple[list[list[int]], int]:
        """Ids of prompts with their completions, all of one length, and the completions' length."""
        rows, longest = [], 0
        for _ in range(self.settings.batch):
            prompt, completion = self.row(kind)
            rows.append(prompt + completion)
            longest = len(completion)
        return rows, longest

    def row(self, kind: Kind) -> tuple[list[int], list[int]]:
        """Ids of a prompt and of its completion."""
        chain = self.chain()
        reference, told = None, None
        if kind == "rationale":
            told = self.policy.work(chain, self.rng)
            reference = solution(told, self.settings.fillers, self.rng)
        values = self.policy.work(chain, self.rng, told, self.settings.follow)
        if kind == "answer":
            reference = str(values[-1])
        prompt = user_prompt(question(chain))
        student = self.tokenizer(self.render(prompt), add_special_tokens=False)["input_ids"]
        form = "rationale" if kind == "rationale" else "answer"
        text = solution(values, self.settings.fillers, self.rng) + str(self.tokenizer.eos_token)
        completion = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self.prompts.prompt_ids(prompt, student, reference, form), completion

    def chain(self) -> Chain:
        """Of the split train."""
        while True:
            chain = draw(self.rng, self.settings.chain_steps, self.operands)
            if split_of(chain.key) == "train":
                return chain


def pass_rate(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, settings: Settings) -> float:
    """Share of right completions at temperature 1 on validation problems."""
    data: Dataset = load_data(DataSpec(settings.data, split="validation", limit=settings.evaluate_problems))
    longest = (settings.fillers + 1) * settings.chain_steps + 8
    found = generate_answers(
        model, tokenizer, data, max_new_tokens=longest, batch_size=250, progress=False, autocast_bf16=False
    )
    return sum(generation.correct for generation in found) / len(found)


def warm_start(settings: Settings, out: Path) -> None:
    """Train and save the embedded text model, its tokenizer and the log of this run."""
    torch.set_num_threads(1)
    tokenizer = build_text_tokenizer(vocabulary(words()))
    model = build_text_model(tokenizer, settings.seed)
    model.set_attn_implementation("eager")  # faster than sdpa's backward for this shape on a CPU
    log: Log = [{"settings": asdict(settings), "torch": torch.__version__}]
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    rows = Rows(settings, tokenizer)
    fillers = torch.tensor([tokenizer.convert_tokens_to_ids(piece) for piece in filler_pieces()])
    losses: dict[Kind, list[float]] = defaultdict(list)
    started = time.time()
    for step in (bar := tqdm(range(settings.steps), desc="noisy solutions", disable=None)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings.steps, settings.learning_rate, settings.warm_up)
        kind = rows.kind()
        loss = _loss(model, *rows.batch(kind), fillers, settings.filler_weight)
        rows.learnt(loss.item())
        losses[kind].append(loss.item())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        bar.set_postfix(loss=f"{loss.item():.3f}")
        if (step + 1) % settings.evaluate_every == 0 or step + 1 == settings.steps:
            seconds, rate = round(time.time() - started), pass_rate(model, tokenizer, settings)
            means = {name: sum(given) / len(given) for name, given in losses.items()}
            log.append(
                {"step": step + 1, "operands": rows.operands, "loss": means, "seconds": seconds, "pass_rate": rate}
            )
            losses.clear()
            tqdm.write(json.dumps(log[-1]))
            save_with_log(model, tokenizer, log, out)


def _loss(model: Qwen3ForCausalLM, rows: list[list[int]], length: int, fillers: Tensor, filler_weight: float) -> Tensor:
    """Mean cross entropy of the last `length` tokens of each row, nats; fillers count `filler_weight`."""
    ids = torch.tensor(rows)
    logits = model(input_ids=ids, logits_to_keep=length + 1, use_cache=False).logits[:, :-1]
    return weighted_loss(logits, ids[:, -length:], fillers, filler_weight)


def main(arguments: Sequence[str] | None = None) -> None:
    command(Settings, warm_start, "Warm-start the embedded text model.", arguments)


if __name__ == "__main__":
    main()
