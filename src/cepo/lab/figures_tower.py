"""The figures model's vision tower, trained alone: it learns to name what each panel shows.

Through a linear probe, and as a sum of the language model's own words for it, which this can then copy as from text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import islice
from random import Random
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm
from transformers import Qwen3VLForConditionalGeneration

from cepo.figures.drawing import LAYOUTS, PANEL_CELLS, PANEL_PIXELS, SIDE_PANELS, panel, panels
from cepo.figures.problems import Figure, figures
from cepo.figures.relations import KINDS
from cepo.geometry.glyphs import CELL, GLYPHS, LETTERS
from cepo.lab.noisy import learning_rate
from cepo.models.processor import ImageOnlyProcessor

__all__ = ["PANELS", "Probe", "pixels", "targets_of", "train_probe"]

PANELS = SIDE_PANELS**2
"""Panels of a picture, each one image token."""
_CELLS = PANEL_CELLS**2
_CHARACTERS = ["", *GLYPHS, *LETTERS]
_DRAWINGS = ["", "start", *KINDS]


def targets_of(figure: Figure) -> tuple[list[int], list[int]]:
    """What a probe should name: the character of every cell, panel by panel, and the drawing of every panel."""
    characters, drawings = [0] * (PANELS * _CELLS), [0] * PANELS
    for index, (name, drawing, given) in enumerate(panels(figure)):
        drawings[index] = _DRAWINGS.index(drawing)
        characters[index * _CELLS] = _CHARACTERS.index(name)
        for place, character in enumerate(reversed(str(given) if given else ""), start=1):
            characters[(index + 1) * _CELLS - place] = _CHARACTERS.index(character)
    return characters, drawings


class Probe(nn.Module):
    """Names characters and drawings from a panel's image token alone."""

    def __init__(self, model: Qwen3VLForConditionalGeneration, processor: ImageOnlyProcessor) -> None:
        super().__init__()
        width = model.config.get_text_config().hidden_size
        self.characters = nn.Linear(width, _CELLS * len(_CHARACTERS))
        self.drawings = nn.Linear(width, len(_DRAWINGS))
        self.processor = processor
        self.words = model.get_input_embeddings().weight.detach().clone()  # pyright: ignore[reportCallIssue]
        self.tower: list[Any] = [model.model.visual]  # not a part of this module

    def forward(self, batch: Sequence[Figure], rng: Random) -> tuple[Tensor, dict[str, float]]:
        """Loss, and accuracy on characters and drawings that are there."""
        pictures = pixels(batch, rng)
        features = self.tower[0](pictures["pixel_values"], grid_thw=pictures["image_grid_thw"]).pooler_output
        loss, accuracy = torch.zeros(()), {}
        wanted = zip(*map(targets_of, batch), strict=True)
        for name, head, width, rows in zip(
            ("characters", "drawings"), (self.characters, self.drawings), (len(_CHARACTERS), len(_DRAWINGS)), wanted,
            strict=True,
        ):  # fmt: skip
            target = torch.tensor(rows).flatten()
            logits = head(features).reshape(-1, width)
            loss = loss + F.cross_entropy(logits, target, weight=torch.tensor([0.05] + [1.0] * (width - 1)))
            there = target > 0
            accuracy[name] = (logits.argmax(-1) == target)[there].float().mean().item()
        return loss + self._spoken(batch, features), accuracy

    def _spoken(self, batch: Sequence[Figure], features: Tensor) -> Tensor:
        """Squared distance of image tokens, (B * 9, width), to the sum of the words for what their panels show.

        So that the language model can copy these words from a panel as it does from text.
        """
        ids = self.processor.tokenizer.convert_tokens_to_ids
        wanted = torch.zeros_like(features)
        for index, figure in enumerate(batch):
            for place, (name, drawing, given) in enumerate(panels(figure)):
                said = ([name] if place == 0 else [f"{name} ", f"{drawing} "]) + ([str(given)] if given else [])
                wanted[index * PANELS + place] = self.words[torch.tensor(ids(said))].sum(0)
        return (features - wanted).square().sum(-1).mean()


@cache
def _panel_pixels(shown: tuple[str, str, int] | None, layout: int) -> Tensor:
    """A panel (None: a blank one) as the image processor hands it over: (16, 3 * 2 * 16 * 16), in [-1, 1]."""
    grey = Image.new("L", (PANEL_PIXELS, PANEL_PIXELS), 255) if shown is None else panel(*shown, layout)
    cells = torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8).view(PANEL_CELLS, CELL, PANEL_CELLS, CELL)
    patches = cells.transpose(1, 2).reshape(_CELLS, 1, CELL * CELL) / 127.5 - 1
    return patches.expand(_CELLS, 6, CELL * CELL).reshape(_CELLS, -1)


def pixels(batch: Sequence[Figure], rng: Random) -> dict[str, Tensor]:
    """What the image processor makes of pictures of the figures, without drawing each anew."""
    rows = []
    for figure in batch:
        shown = panels(figure)
        rows += [_panel_pixels(one, rng.randrange(LAYOUTS)) for one in shown]
        rows += [_panel_pixels(None, 0)] * (PANELS - len(shown))
    side = SIDE_PANELS * PANEL_CELLS
    return {"pixel_values": torch.cat(rows), "image_grid_thw": torch.tensor([[1, side, side]] * len(batch))}


def train_probe(
    model: Qwen3VLForConditionalGeneration,
    processor: ImageOnlyProcessor,
    seed: int,
    *,
    steps: int,
    batch: int,
    rate: float,
) -> dict[str, float]:
    """Teach the vision tower to name what panels show; accuracy on 100 pictures of the split validation."""
    probe, rng = Probe(model, processor), Random(f"probe/{seed}")
    optimizer = torch.optim.AdamW([*model.model.visual.parameters(), *probe.parameters()], lr=rate)
    stream = figures("train", seed + 1)
    for step in (bar := tqdm(range(steps), desc="naming characters and drawings", disable=None)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, rate, warm_up=10)
        loss, accuracy = probe(list(islice(stream, batch)), rng)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        bar.set_postfix(loss=f"{loss.item():.3f}", **accuracy)
    model.zero_grad()
    with torch.no_grad():
        return probe(list(islice(figures("validation", seed), 100)), rng)[1]
