r"""Warm-starts the embedded figures model by supervised training, in two runs:

    python -m cepo.lab.warm_start_figures --out FIRST
    python -m cepo.lab.warm_start_figures --start FIRST --steps 1500 --learning_rate 2e-3 --rationale_share 0.7 \
        --answer_share 0.15 --follow 0.95 --any_share 0.7 --out FOLDER

Parts are trained apart. The vision tower learns to name the characters and the drawing of every panel, through a linear
probe and as a sum of the language model's own words for them, and is left as it is from then on. The language model
learns to calculate, on equations alone. Then it learns the solutions of a policy that confuses relations
(`cepo.figures.policy`): of plain prompts, of prompts that carry the answer which that solution reaches, and of prompts
that carry a whole other solution, which is followed while on its track. The words around them are those of
`cepo.credit.prompts`, so that the teachers' conditioning on r+ and r- means something. The second run
is for that: after the first one a told solution says nothing to the model.

The weights in the package came from these commands; the log stands beside them.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, cast

import torch
from datasets import Dataset
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm
from transformers import Qwen3VLForConditionalGeneration

from cepo.credit.prompts import TeacherPrompts
from cepo.data.datasets import DataSpec, load_data
from cepo.data.rows import user_prompt
from cepo.evaluate import generate_answers
from cepo.figures.drawing import PANEL_CELLS, SIDE_PANELS
from cepo.figures.policy import Confusions
from cepo.figures.problems import FIGURES, LENGTHS, Figure, Work, figures
from cepo.figures.relations import FULL, GIVEN, KINDS, UNIT
from cepo.figures.wording import filler_pieces, question, solution, words
from cepo.glossary import Prompt
from cepo.lab.figures_tower import PANELS, pixels, train_probe
from cepo.lab.noisy import Kind, NoisySettings, draw_kind, learning_rate, vocabulary, weighted_loss
from cepo.lab.shipping import LOG, Log, command, save_with_log
from cepo.models.embedded_figures import build_figures_model, build_figures_processor
from cepo.models.loading import load_checkpoint
from cepo.models.processor import ImageOnlyProcessor


@dataclass(frozen=True)
class Settings(NoisySettings):
    """Everything that the weights depend on.

    Every batch is of one kind and of one number of steps; words learn at `word_share` of the rate.
    `pool`: figures whose pictures the language model sees, each many times. `any_share`: of the solutions that are
    told, those that take each panel for anything, so that following them is worth learning. `start`: the folder of a
    model to go on from, whose log is kept: then all lengths and kinds come from the first step.
    """

    width: int = 64
    layers: int = 3
    probe_steps: int = 350
    probe_batch: int = 32
    probe_rate: float = 2e-3
    drill_steps: int = 800
    pool: int = 3000
    steps: int = 2400
    batch: int = 32
    warm_up: int = 50
    word_share: float = 0.1
    evaluate_every: int = 200
    evaluate_problems: int = 100
    any_share: float = 0.0
    start: str = ""


def drills(rng: Random, rows: int, length: int = 12) -> list[str]:
    """Lines of `length` equations as they stand in solutions, of any angles that a way through a figure can meet."""
    lines = []
    for _ in range(rows):
        said = []
        for _ in range(length):
            kind, value = rng.choice(list(KINDS.values())), rng.randrange(0, FULL, UNIT)
            form = rng.choice([kind.right, *kind.confused])
            said += [f"{e.left}{e.sign}{e.right}={e.result}" for e in form.equations(value, rng.choice(GIVEN))]
        lines.append(". ".join(said[:length]) + ". ")
    return lines


def train_equations(model: Qwen3VLForConditionalGeneration, processor: ImageOnlyProcessor, settings: Settings) -> float:
    """Teach the language model to calculate; accuracy of results in the last ten batches."""
    rng, tokenizer = Random(f"drills/{settings.seed}"), processor.tokenizer
    optimizer = torch.optim.AdamW(_parameter_groups(model, settings), lr=settings.learning_rate, weight_decay=0.01)
    equals = tokenizer.convert_tokens_to_ids("=")
    accuracy: list[float] = []
    for step in (bar := tqdm(range(settings.drill_steps), desc="equations", disable=None)):
        _set_rate(optimizer, learning_rate(step, settings.drill_steps, settings.learning_rate, settings.warm_up))
        ids = torch.tensor(tokenizer(drills(rng, settings.batch), add_special_tokens=False)["input_ids"])
        at_result = ids[:, :-1] == equals
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1][at_result]
        loss = F.cross_entropy(logits, ids[:, 1:][at_result])
        accuracy.append((logits.argmax(-1) == ids[:, 1:][at_result]).float().mean().item())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        bar.set_postfix(loss=f"{loss.item():.3f}", accuracy=accuracy[-1])
    return sum(accuracy[-10:]) / max(1, len(accuracy[-10:]))


def _parameter_groups(model: Qwen3VLForConditionalGeneration, settings: Settings) -> list[dict[str, Any]]:
    """What is trained after the tower; words, which are also the head, at their share of the rate."""
    words_in = model.get_input_embeddings().weight  # image tokens are made of them, so they move slowly
    others = [p for p in model.parameters() if p.requires_grad and p is not words_in]
    return [{"params": others, "share": 1.0}, {"params": [words_in], "share": settings.word_share}]


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


@dataclass(frozen=True)
class Seen:
    """A figure as the language model sees it: its image tokens (9, width), and its plain prompt's ids."""

    figure: Figure
    features: Tensor
    prompt: Prompt
    ids: list[int]


class Rows:
    """Supervised rows of one kind and one number of steps at a time."""

    def __init__(
        self, settings: Settings, model: Qwen3VLForConditionalGeneration, processor: ImageOnlyProcessor
    ) -> None:
        self.settings, self.model, self.processor = settings, model, processor
        self.tokenizer = processor.tokenizer
        self.policy = Confusions(settings.seed)
        self.rng = Random(f"warm-start-figures/{settings.seed}")
        self.prompts = TeacherPrompts(self.tokenizer, self.render)
        self.pool: dict[int, list[Seen]] = defaultdict(list)
        stream = figures("train", settings.seed)
        for _ in tqdm(range(max(1, settings.pool // 50)), desc="looking at pictures", disable=None):
            for seen in self._look(list(islice(stream, 50))):
                self.pool[len(seen.figure.steps)].append(seen)

    def render(self, prompt: Prompt) -> str:
        return str(self.processor.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False))  # pyright: ignore[reportArgumentType]

    @torch.no_grad()
    def _look(self, batch: list[Figure]) -> list[Seen]:
        inputs = pixels(batch, self.rng)
        features = self.model.model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]).pooler_output
        found = []
        for figure, rows in zip(batch, features.split(PANELS), strict=True):
            text = user_prompt(question(figure))[0]["content"]
            prompt: Prompt = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
            token = self.processor.image_token
            said = self.render(prompt).replace(token, token * PANELS)
            found.append(Seen(figure, rows, prompt, self.tokenizer(said, add_special_tokens=False)["input_ids"]))
        return found

    def row(self, kind: Kind, seen: Seen) -> tuple[list[int], list[int]]:
        """Ids of a prompt and of its completion."""
        reference, told = None, None
        if kind == "rationale":
            told = self._told(seen.figure)
            reference = solution(seen.figure, told, self.rng)
        work = self.policy.work(seen.figure, self.rng, told, self.settings.follow)
        if kind == "answer":
            reference = str(work.values[-1])
        form = "rationale" if kind == "rationale" else "answer"
        text = solution(seen.figure, work, self.rng) + str(self.tokenizer.eos_token)
        completion = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self.prompts.prompt_ids(seen.prompt, seen.ids, reference, form), completion

    def _told(self, figure: Figure) -> Work:
        """A whole solution to tell: the policy's own, or one that takes each panel for anything, all alike."""
        if not self.settings.any_share or self.rng.random() >= self.settings.any_share:
            return self.policy.work(figure, self.rng)
        kinds = [KINDS[step.kind] for step in figure.steps]
        return figure.work([self.rng.choice([kind.right, *kind.confused]) for kind in kinds])

    def batch(self, kind: Kind, done: float = 1.0) -> tuple[dict[str, Tensor], Tensor]:
        """The model's inputs, right-padded, and the next tokens, (B, T): -100 where none is to be learnt.

        Args:
            done: share of the training that is over: short problems come first, all from a half on.
        """
        known = LENGTHS[: 1 + int(2 * done * len(LENGTHS))]
        several = self.pool[self.rng.choice(known)]
        chosen = [self.rng.choice(several) for _ in range(self.settings.batch)]
        rows = [self.row(kind, seen) for seen in chosen]
        longest = max(len(prompt) + len(completion) for prompt, completion in rows)
        ids = torch.full((len(rows), longest), self.tokenizer.pad_token_id)
        targets, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
        for index, (prompt, completion) in enumerate(rows):
            start, stop = len(prompt), len(prompt) + len(completion)
            ids[index, :stop] = torch.tensor(prompt + completion)
            targets[index, start - 1 : stop - 1] = ids[index, start:stop]
            mask[index, :stop] = 1
        return self.inputs(ids, mask, chosen), targets

    def inputs(self, ids: Tensor, mask: Tensor, chosen: Sequence[Seen]) -> dict[str, Tensor]:
        """The model's inputs for rows of ids and mask, (B, T), about the figures `chosen`."""
        at_image = ids == self.processor.image_token_id
        side = torch.tensor([[1, SIDE_PANELS * PANEL_CELLS, SIDE_PANELS * PANEL_CELLS]]).repeat(len(ids), 1)
        whole: Any = self.model.model
        places, _ = whole.get_rope_index(
            ids, mm_token_type_ids=at_image.long(), image_grid_thw=side, attention_mask=mask
        )
        embeds = self.model.get_input_embeddings()(ids)
        embeds = embeds.masked_scatter(at_image[:, :, None], torch.cat([seen.features for seen in chosen]))
        return {"inputs_embeds": embeds, "attention_mask": mask, "position_ids": places}


def pass_rate(
    model: Qwen3VLForConditionalGeneration, processor: ImageOnlyProcessor, settings: Settings, *, blank: bool = False
) -> dict[str, float]:
    """Share of right completions at temperature 1 on validation problems, by length; `blank` hides the pictures."""
    data = load_data(DataSpec(FIGURES, split="validation", limit=settings.evaluate_problems))
    if blank:
        kept = [cast(dict[str, Any], row) for row in data]
        rows = [row | {"images": [Image.new("RGB", one.size, "white") for one in row["images"]]} for row in kept]
        data = Dataset.from_list(rows)
    found = generate_answers(
        model, processor, data, max_new_tokens=180, batch_size=100, progress=False, autocast_bf16=False
    )
    right: dict[str, list[bool]] = defaultdict(list)
    for generation in found:
        right["all"].append(generation.correct)
        right[generation.family or ""].append(generation.correct)
    return {name: sum(given) / len(given) for name, given in sorted(right.items())}


def warm_start(settings: Settings, out: Path) -> None:
    """Train and save the embedded figures model, its processor and the log of this run."""
    torch.set_num_threads(1)
    started = time.time()
    torch.manual_seed(settings.seed)
    model, processor, log = _continued(settings) if settings.start else _begun(settings, started)
    model.set_attn_implementation("eager")  # faster than sdpa's backward for this shape on a CPU
    model.model.visual.requires_grad_(False)
    rows = Rows(settings, model, processor)
    optimizer = torch.optim.AdamW(_parameter_groups(model, settings), lr=settings.learning_rate, weight_decay=0.01)
    fillers = torch.tensor(sorted(set(processor.tokenizer.convert_tokens_to_ids(list(filler_pieces())))))
    losses: dict[str, list[float]] = defaultdict(list)
    for step in (bar := tqdm(range(settings.steps), desc="noisy solutions", disable=None)):
        _set_rate(optimizer, learning_rate(step, settings.steps, settings.learning_rate, settings.warm_up))
        done = 1.0 if settings.start else step / settings.steps
        kind = draw_kind(rows.rng, settings.answer_share, settings.rationale_share) if done > 0.25 else "plain"
        inputs, targets = rows.batch(kind, done)
        loss = weighted_loss(model(**inputs, use_cache=False).logits, targets, fillers, settings.filler_weight)
        losses[kind].append(loss.item())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        bar.set_postfix(loss=f"{loss.item():.3f}")
        if (step + 1) % settings.evaluate_every == 0 or step + 1 == settings.steps:
            entry: dict[str, object] = {"step": step + 1, "seconds": round(time.time() - started)}
            entry["loss"] = {name: sum(given) / len(given) for name, given in losses.items()}
            losses.clear()
            log.append(entry | {"pass_rate": pass_rate(model, processor, settings)})
            tqdm.write(json.dumps(log[-1]))
            save_with_log(model, processor, log, out)
    log.append({"phase": "blank images", "pass_rate": pass_rate(model, processor, settings, blank=True)})
    save_with_log(model, processor, log, out)


def _begun(settings: Settings, started: float) -> tuple[Qwen3VLForConditionalGeneration, ImageOnlyProcessor, Log]:
    """A new model whose tower reads, and whose language model calculates."""
    processor = build_figures_processor(vocabulary(words()))
    model = build_figures_model(processor, settings.seed, settings.width, settings.layers)
    model.set_attn_implementation("eager")
    log: Log = [{"settings": asdict(settings), "torch": torch.__version__}]
    torch.manual_seed(settings.seed)
    accuracy = train_probe(
        model,
        processor,
        settings.seed,
        steps=settings.probe_steps,
        batch=settings.probe_batch,
        rate=settings.probe_rate,
    )
    log.append({"phase": "probe", "accuracy": accuracy, "seconds": round(time.time() - started)})
    tqdm.write(json.dumps(log[-1]))
    model.model.visual.requires_grad_(False)
    log.append({"phase": "equations", "accuracy": train_equations(model, processor, settings)})
    tqdm.write(json.dumps(log[-1]))
    return model, processor, log


def _continued(settings: Settings) -> tuple[Qwen3VLForConditionalGeneration, ImageOnlyProcessor, Log]:
    """The model of another run of this script, with its log."""
    model, processor = load_checkpoint(settings.start, dtype="float32")
    assert isinstance(model, Qwen3VLForConditionalGeneration)
    assert isinstance(processor, ImageOnlyProcessor)
    log = cast(Log, json.loads((Path(settings.start) / LOG).read_text()))
    return model.train(), processor, [*log, {"settings": asdict(settings), "torch": torch.__version__}]


def main(arguments: Sequence[str] | None = None) -> None:
    command(Settings, warm_start, "Warm-start the embedded figures model.", arguments)


if __name__ == "__main__":
    main()
