"""Completions as token ids, many for each start: rollouts from prompts, and continuations from prefixes.

Tokens are sampled from the model's own distribution. A start's prompt is encoded once, whatever the number of
its completions: `model.generate` encodes it for each, which is most of the work where prompts are longer than
completions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from cepo.errors import ModelError
from cepo.evaluate import encode_prompts, evaluating, messages_with_images, own_randomness
from cepo.lab.audit.problems import Row
from cepo.scoring import Images

__all__ = ["Processor", "Prompt", "Sampler", "Start", "encode", "parts_of"]

Processor = ProcessorMixin | PreTrainedTokenizerBase
"""What a model is loaded with: its processor, or its tokenizer."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as the model reads it: messages (for the teachers' prompts), ids with placeholders, images."""

    messages: list[dict[str, object]]
    ids: list[int]
    images: Images | None


@dataclass(frozen=True, slots=True)
class Start:
    """What a completion goes on from: a prompt, and the first tokens of a rollout."""

    prompt: Prompt
    prefix: tuple[int, ...] = ()


def encode(processor: Processor, row: Row) -> Prompt:
    """The prompt of one row of `load_data`.

    Raises:
        ValueError: images for a text model.
        ModelError: a processor whose images are not of Qwen-VL's layout.
    """
    inputs = encode_prompts(processor, [row])
    messages = messages_with_images(row) if row.get("images") else cast(list[dict[str, object]], row["prompt"])
    images = None
    if "pixel_values" in inputs:
        if "image_grid_thw" not in inputs:
            raise ModelError("the audit needs images in Qwen-VL's layout (pixel_values with image_grid_thw)")
        images = Images(inputs["pixel_values"], inputs["image_grid_thw"])
    return Prompt(messages, inputs["input_ids"][0].tolist(), images)


def parts_of(processor: Processor) -> tuple[PreTrainedTokenizerBase, int | None]:
    """The tokenizer, and the id of the image placeholder (None: a text model)."""
    if not isinstance(processor, ProcessorMixin):
        return processor, None
    return processor.tokenizer, processor.image_token_id  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True, slots=True)
class Sampler:
    """Samples completions, end token included.

    Attributes:
        ends: ids that end a completion. image_token_id: never sampled, for no image would stand behind it.
        temperature: above 0. max_new_tokens: of a completion, prefix not included.
        tokens: in the cache, of all completions that are sampled side by side; bounds the memory.
    """

    model: PreTrainedModel
    ends: Sequence[int]
    image_token_id: int | None
    temperature: float
    max_new_tokens: int
    tokens: int = 2**15

    @torch.no_grad()
    def complete(
        self, starts: Sequence[Start], samples: int, seed: int, advance: Callable[[int], object] = lambda _: None
    ) -> list[list[list[int]]]:
        """`samples` completions of each start; `advance` is told how many starts have been finished.

        Equal arguments give equal completions. The caller's random state and the model's mode stay.
        """
        found: list[list[list[int]]] = [[] for _ in starts]
        config = cast(GenerationConfig, self.model.generation_config)
        with own_randomness(self.model.device, seed), evaluating(self.model, config):
            for batch, count in self._batches(starts, samples):
                completions = self._complete([starts[index] for index in batch], count)
                for place, index in enumerate(batch):
                    found[index] += completions[place * count : (place + 1) * count]
                advance(sum(len(found[index]) == samples for index in batch))
        return found

    def _batches(self, starts: Sequence[Start], samples: int) -> Iterator[tuple[list[int], int]]:
        """Indices of starts that are sampled together, and how often: like lengths side by side."""
        lengths = [len(start.prompt.ids) + len(start.prefix) + self.max_new_tokens for start in starts]
        order = sorted(range(len(starts)), key=lengths.__getitem__, reverse=True)
        first = 0
        while first < len(order):
            rows = max(1, self.tokens // lengths[order[first]])
            batch = order[first : first + max(1, rows // samples)]
            for done in range(0, samples, rows):
                yield batch, min(samples - done, rows)
            first += len(batch)

    def _complete(self, starts: Sequence[Start], count: int) -> list[list[int]]:
        """`count` completions of each start, a start's side by side."""
        cache, mask, after, logits_SV = self._prefill(starts)
        place = torch.arange(len(starts), device=mask.device).repeat_interleave(count)
        cache.reorder_cache(cast(torch.LongTensor, place))
        mask, after, logits_BV = mask[place], after[place], logits_SV[place]
        alive = list(range(len(place)))
        completions: list[list[int]] = [[] for _ in alive]
        for step in range(self.max_new_tokens):
            tokens_B = self._draw(logits_BV)
            for row, token in zip(alive, tokens_B.tolist(), strict=True):
                completions[row].append(token)
            kept = [i for i, row in enumerate(alive) if completions[row][-1] not in self.ends]
            if not kept or step + 1 == self.max_new_tokens:
                break
            if len(kept) < len(alive):
                keep = torch.tensor(kept, device=mask.device)
                cache.reorder_cache(cast(torch.LongTensor, keep))
                mask, after, tokens_B, alive = mask[keep], after[keep], tokens_B[keep], [alive[i] for i in kept]
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            logits_BV = self._step(tokens_B, cache, mask, after + step)
        return completions

    def _prefill(self, starts: Sequence[Start]) -> tuple[DynamicCache, Tensor, Tensor, Tensor]:
        """Cache, mask (S, P), the next position (S,) and the logits (S, V) of the first token, of the starts."""
        sequences = [[*start.prompt.ids, *start.prefix] for start in starts]
        ids, mask = _right_padded(sequences, self.model.device)
        vision = self._vision(starts, ids)
        positions = self._positions(ids, mask, vision)
        output = self._base(input_ids=ids, attention_mask=mask, position_ids=positions, **vision, use_cache=True)
        reached = positions.masked_fill(mask == 0, -1)
        after = (reached.amax(dim=(0, 2)) if positions.dim() == 3 else reached.amax(dim=1)) + 1
        last = mask.sum(dim=1) - 1
        states = output.last_hidden_state[torch.arange(len(starts), device=ids.device), last]
        return cast(DynamicCache, output.past_key_values), mask, after, self._logits(states)

    @property
    def _base(self) -> Any:
        return cast(Any, self.model).base_model

    def _vision(self, starts: Sequence[Start], ids: Tensor) -> dict[str, Tensor]:
        """The images' part of a forward's inputs; empty without images."""
        images = [start.prompt.images for start in starts if start.prompt.images is not None]
        if not images:
            return {}
        return {
            "pixel_values": torch.cat([image.pixel_values for image in images]).to(ids.device),
            "image_grid_thw": torch.cat([image.grid_thw for image in images]).to(ids.device),
            "mm_token_type_ids": (ids == self.image_token_id).long(),
        }

    def _positions(self, ids: Tensor, mask: Tensor, vision: Mapping[str, Tensor]) -> Tensor:
        """(S, P), or (3, S, P) for M-RoPE; explicit, for a model left to itself reuses the last prompt's offset."""
        if not hasattr(self._base, "get_rope_index"):
            return torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
        kinds = vision.get("mm_token_type_ids", torch.zeros_like(ids))
        positions, _ = self._base.get_rope_index(
            ids, mm_token_type_ids=kinds, image_grid_thw=vision.get("image_grid_thw"), attention_mask=mask
        )
        return positions

    def _step(self, tokens_B: Tensor, cache: DynamicCache, mask: Tensor, position_B: Tensor) -> Tensor:
        positions = position_B[:, None]
        if hasattr(self._base, "get_rope_index"):
            positions = positions.expand(3, -1, -1)
        output = self._base(
            input_ids=tokens_B[:, None],
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        return self._logits(output.last_hidden_state[:, -1])

    def _logits(self, states_BD: Tensor) -> Tensor:
        logits_BV = cast(Any, self.model.get_output_embeddings())(states_BD).float() / self.temperature
        if self.image_token_id is not None:
            logits_BV[:, self.image_token_id] = -torch.inf
        return logits_BV

    def _draw(self, logits_BV: Tensor) -> Tensor:
        return torch.multinomial(logits_BV.softmax(dim=-1), 1)[:, 0]


def _right_padded(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask, (S, P). A row's padding is its own first token: never a placeholder without an image."""
    longest = max(map(len, sequences))
    ids = [[*sequence, *[sequence[0]] * (longest - len(sequence))] for sequence in sequences]
    mask = [[1] * len(sequence) + [0] * (longest - len(sequence)) for sequence in sequences]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
