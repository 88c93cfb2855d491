"""Warm-starts the embedded model by supervised training: `python -m cepo.lab.warm_start --out FOLDER`.

Two phases. First the vision tower alone learns to name the character in each cell through a linear probe:
a small model trained on solutions straight away learns the arithmetic and never looks at the picture. Then
the whole model learns worked solutions, of plain prompts and of prompts that carry a reference answer, right
or wrong, in the very template of `cepo.credit.prompts`, with a solution that leads to that answer; so that
the teachers' conditioning on r+ and r- means something. It stops early on purpose: the pass rate at
temperature 1 on validation problems must leave room for reinforcement learning.

The weights in the package came from the default arguments; the log stands beside them.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from datasets import Dataset
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm
from transformers import Qwen3VLForConditionalGeneration

from cepo.answers import BOXED
from cepo.credit.prompts import ANSWER_TEMPLATE, TeacherPrompts
from cepo.data.rows import problem_row, user_prompt
from cepo.evaluate import generate_answers
from cepo.geometry.glyphs import GLYPHS
from cepo.geometry.problems import drafts, generate, work_wrongly
from cepo.geometry.worked import Draft
from cepo.glossary import Prompt
from cepo.lab.shipping import Log, command, save_with_log
from cepo.models.embedded import build_model, build_processor
from cepo.models.processor import ImageOnlyProcessor

PAD_LABEL = -100
Messages = list[dict[str, object]]


@dataclass(frozen=True)
class Settings:
    """Everything that the weights depend on.

    `steps` is the length of the learning-rate schedule. `bf16`: autocast; turn it off on a CPU without bf16
    instructions, where it is 50 times slower than fp32.
    """

    seed: int = 0
    probe_steps: int = 80
    steps: int = 2000
    stop_after: int = 1050
    batch: int = 64
    learning_rate: float = 1e-3
    warm_up: int = 50
    plain_share: float = 0.4
    gold_share: float = 0.3
    evaluate_every: int = 150
    evaluate_problems: int = 200
    bf16: bool = True


@dataclass(frozen=True)
class Example:
    """One supervised row: prompt ids (image placeholders expanded), completion ids, and the picture."""

    prompt_ids: list[int]
    completion_ids: list[int]
    image: Image.Image


def corpus() -> Iterator[str]:
    """The text that the vocabulary is learnt from."""
    for draft in itertools.islice(drafts("train", seed=0), 400):
        yield draft.question
        yield draft.work().text
    for text in ("user\n", "assistant\n", BOXED.instruction, ANSWER_TEMPLATE.replace("{reference}", "")):
        yield from [text] * 100


def examples(settings: Settings, processor: ImageOnlyProcessor) -> Iterator[Example]:
    """Endless supervised rows: plain prompts, prompts with the right answer, prompts with a wrong one."""
    rng = Random(f"warm-start/{settings.seed}")
    prompts = TeacherPrompts(processor.tokenizer, lambda prompt: _render(processor, prompt))
    for draft in drafts("train", settings.seed):
        draw = rng.random()
        wrong = draw >= settings.plain_share + settings.gold_share
        worked = work_wrongly(draft, rng) if wrong else draft.work()
        reference = None if draw < settings.plain_share else str(worked.answer)
        image = draft.canvas.image().convert("RGB")
        ids, prompt = _student_ids(processor, draft, image)
        completion = processor.tokenizer(worked.text + processor.tokenizer.eos_token)["input_ids"]
        yield Example(prompts.prompt_ids(prompt, ids, reference), completion, image)


def _render(processor: ImageOnlyProcessor, prompt: Prompt) -> str:
    rendered = processor.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)  # pyright: ignore[reportArgumentType]
    return str(rendered)


def _student_ids(processor: ImageOnlyProcessor, draft: Draft, image: Image.Image) -> tuple[list[int], Messages]:
    text = user_prompt(draft.question)[0]["content"]
    content = [{"type": "image", "image": image}, {"type": "text", "text": text}]
    prompt: Messages = [{"role": "user", "content": content}]
    side = processor.image_processor.patch_size
    patches = (image.width // side) * (image.height // side)
    rendered = _render(processor, prompt).replace(processor.image_token, processor.image_token * patches)
    return processor.tokenizer(rendered, add_special_tokens=False)["input_ids"], prompt


def collate(rows: list[Example], processor: ImageOnlyProcessor) -> dict[str, Tensor]:
    """Right-padded model inputs with labels on completion tokens only."""
    pad = processor.tokenizer.pad_token_id
    longest = max(len(row.prompt_ids) + len(row.completion_ids) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), PAD_LABEL)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for index, row in enumerate(rows):
        start, stop = len(row.prompt_ids), len(row.prompt_ids) + len(row.completion_ids)
        ids[index, :stop] = torch.tensor(row.prompt_ids + row.completion_ids)
        labels[index, start:stop] = ids[index, start:stop]
        mask[index, :stop] = 1
    pictures = processor.image_processor(images=[row.image for row in rows], return_tensors="pt")
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "mm_token_type_ids": (ids == processor.image_token_id).long(),
        **pictures,
    }


def train_probe(model: Qwen3VLForConditionalGeneration, processor: ImageOnlyProcessor, settings: Settings) -> float:
    """Teach the vision tower to name each cell's character; returns the last batch's accuracy on characters."""
    names = ["", *GLYPHS]
    probe = nn.Linear(model.config.get_text_config().hidden_size, len(names))
    visual = model.model.visual
    optimizer = torch.optim.AdamW([*visual.parameters(), *probe.parameters()], lr=settings.learning_rate)
    weight = torch.tensor([0.05] + [1.0] * len(GLYPHS))
    stream = drafts("train", settings.seed + 1)
    accuracy = 0.0
    for _ in tqdm(range(settings.probe_steps), desc="naming characters", disable=None):
        batch = list(itertools.islice(stream, settings.batch))
        pictures = processor.image_processor(
            images=[d.canvas.image().convert("RGB") for d in batch], return_tensors="pt"
        )
        target = torch.tensor([_cell_labels(draft, names) for draft in batch]).flatten()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.bf16):
            features = visual(pictures["pixel_values"], grid_thw=pictures["image_grid_thw"]).pooler_output
        logits = probe(features.float())
        loss = F.cross_entropy(logits, target, weight=weight)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        inked = target > 0
        accuracy = (logits.argmax(-1) == target)[inked].float().mean().item()
    return accuracy


def _cell_labels(draft: Draft, names: list[str]) -> list[int]:
    side = draft.canvas.image().width // 16
    return [names.index(draft.canvas.cells.get((row, column), "")) for row in range(side) for column in range(side)]


def pass_rates(
    model: Qwen3VLForConditionalGeneration, processor: ImageOnlyProcessor, settings: Settings, *, blank: bool = False
) -> dict[str, float]:
    """Pass rate at temperature 1 on validation problems, by family and over `all`; `blank` hides the images."""
    count = settings.evaluate_problems
    rows = [problem_row(problem) for problem in generate("validation", count)]
    if blank:
        rows = [row | {"images": [Image.new("RGB", image.size, "white") for image in row["images"]]} for row in rows]
    generations = generate_answers(
        model, processor, Dataset.from_list(rows), max_new_tokens=64, autocast_bf16=settings.bf16, progress=False
    )
    right: dict[str, list[bool]] = defaultdict(list)
    for generation in generations:
        right[generation.family or ""].append(generation.correct)
    return {"all": sum(map(sum, right.values())) / count} | {name: sum(r) / len(r) for name, r in right.items()}


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up, then a cosine down to a tenth."""
    if step < settings.warm_up:
        return settings.learning_rate * (step + 1) / settings.warm_up
    share = (step - settings.warm_up) / max(1, settings.steps - settings.warm_up)
    return settings.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))


def warm_start(settings: Settings, out: Path) -> None:
    """Train and save the embedded model, its processor and the log of this run."""
    torch.manual_seed(settings.seed)
    processor = build_processor(corpus())
    model = build_model(processor, settings.seed)
    model.set_attn_implementation("eager")  # faster than sdpa's backward for this shape on a CPU
    log: Log = [{"settings": asdict(settings), "torch": torch.__version__}]
    log.append({"phase": "probe", "accuracy": train_probe(model, processor, settings)})
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    stream = examples(settings, processor)
    started = time.time()
    for step in (bar := tqdm(range(min(settings.steps, settings.stop_after)), desc="worked solutions", disable=None)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        inputs = collate(list(itertools.islice(stream, settings.batch)), processor)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.bf16):
            loss = model(**inputs).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        bar.set_postfix(loss=f"{loss.item():.3f}")
        if (step + 1) % settings.evaluate_every == 0:
            rates = pass_rates(model, processor, settings)
            seconds = round(time.time() - started)
            log.append({"step": step + 1, "loss": loss.item(), "seconds": seconds, "pass_rate": rates})
            tqdm.write(json.dumps(log[-1]))
            save_with_log(model, processor, log, out)
    log.append({"phase": "blank images", "pass_rate": pass_rates(model, processor, settings, blank=True)})
    save_with_log(model, processor, log, out)


def main(arguments: Sequence[str] | None = None) -> None:
    command(Settings, warm_start, "Warm-start the embedded model.", arguments)


if __name__ == "__main__":
    main()
