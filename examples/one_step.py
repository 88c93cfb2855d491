"""One step of CEPO, top to bottom, without TRL: `python examples/one_step.py`.

Left out, because a trainer has it and it hides the method: batching by length, several processes, checkpoints,
logging, fallbacks. Everything else is here, and `tests/package/test_one_step.py` holds it equal to `CEPOTrainer`.
"""

from __future__ import annotations

from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForImageTextToText

from cepo import EMBEDDED, extract_answer, generate_problems, load_processor, problem_row, same_answer

GROUP = 4
STRENGTH, CLIP = 0.5, 0.5  # lambda and eps_w
EPSILON_LOW, EPSILON_HIGH = 0.2, 0.28
REFERENCE = " (The answer to this problem is {}. Show the steps that lead to it.)"


def messages(row: dict[str, Any], reference: str | None = None) -> list[dict[str, Any]]:
    """The prompt, or a teacher's prompt: the same with a reference at the end of the user's turn."""
    text = row["prompt"][0]["content"] + (REFERENCE.format(reference) if reference is not None else "")
    return [{"role": "user", "content": [{"type": "image", "image": row["images"][0]}, {"type": "text", "text": text}]}]


def encode(processor: Any, conversations: list[Any]) -> dict[str, Tensor]:
    """Left-padded inputs with the images."""
    return dict(
        processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            processor_kwargs={"padding": True, "return_tensors": "pt"},
        )
    )


def sample(model: Any, processor: Any, rows: list[dict[str, Any]], max_new_tokens: int = 48) -> list[list[int]]:
    """G rollouts of each problem at temperature 1, each cut after its end-of-turn token."""
    inputs = encode(processor, [messages(row) for row in rows for _ in range(GROUP)])
    output = model.generate(**inputs, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=max_new_tokens)
    completions = output[:, inputs["input_ids"].shape[1] :].tolist()
    end = processor.tokenizer.eos_token_id
    return [ids[: ids.index(end) + 1] if end in ids else ids for ids in completions]


def token_logps(model: Any, processor: Any, conversations: list[Any], completions: list[list[int]]) -> Tensor:
    """log pi(y_t | prompt, y_<t), (B, T): nats, 0 in the padding."""
    inputs = encode(processor, conversations)
    width = max(map(len, completions))
    pad = processor.tokenizer.pad_token_id
    ids_BT = torch.tensor([ids + [pad] * (width - len(ids)) for ids in completions])
    mask_BT = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in completions])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], ids_BT], dim=1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], mask_BT], dim=1)
    inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(ids_BT)], dim=1)
    logits = model(**inputs, logits_to_keep=width + 1).logits[:, :-1].float()
    logps = -F.cross_entropy(logits.transpose(1, 2), ids_BT, reduction="none")
    return torch.where(mask_BT.bool(), logps, 0.0)


def group_advantages(reward_B: Tensor) -> Tensor:
    """A = (R - mean) / (std + 1e-4) within each group."""
    reward_PG = reward_B.view(-1, GROUP)
    centred = reward_PG - reward_PG.mean(dim=1, keepdim=True)
    return (centred / (reward_PG.std(dim=1, keepdim=True) + 1e-4)).flatten()


def wrong_answer(answers: list[str | None], correct: list[bool], row: int, rng: Random) -> str | None:
    """r-: a wrong row's own answer; otherwise that of some wrong rollout of its group; None: there is none."""
    if not correct[row] and answers[row] is not None:
        return answers[row]
    first = row - row % GROUP
    wrong = [i for i in range(first, first + GROUP) if not correct[i] and answers[i] is not None]
    return answers[rng.choice(wrong)] if wrong else None


def credit(advantage_B: Tensor, logp_plus_BT: Tensor, logp_minus_BT: Tensor) -> Tensor:
    """A_hat = A ((1 - lambda) + lambda clip(exp(sign(A) Delta), 1 - eps_w, 1 + eps_w)), (B, T)."""
    evidence_BT = logp_plus_BT - logp_minus_BT
    weight_BT = (advantage_B.sign()[:, None] * evidence_BT).exp().clamp(1 - CLIP, 1 + CLIP)
    return advantage_B[:, None] * ((1 - STRENGTH) + STRENGTH * weight_BT)


@torch.no_grad()
def assign(model: Any, processor: Any, rows: list[dict[str, Any]], completions: list[list[int]]) -> Tensor:
    """Advantages (B, T) of the rollouts of `rows`, G each: grade, choose references, ask both teachers."""
    model.eval()
    problems = [row for row in rows for _ in range(GROUP)]
    texts = processor.tokenizer.batch_decode(completions, skip_special_tokens=True)
    answers = [extract_answer(text) for text in texts]
    correct = [same_answer(answer, row["answer"]) for answer, row in zip(answers, problems, strict=True)]
    advantage_B = group_advantages(torch.tensor(correct, dtype=torch.float32))
    plus = [messages(row, row["answer"]) for row in problems]
    minus = []
    for index, row in enumerate(problems):
        rng = Random(f"0/1/{index // GROUP}/{index % GROUP}")  # seed 0, step 1: the trainer's own draw
        minus.append(messages(row, wrong_answer(answers, correct, index, rng)))  # without r-, P- is P_S: RLSD
    logp_plus_BT = token_logps(model, processor, plus, completions)
    logp_minus_BT = token_logps(model, processor, minus, completions)
    return credit(advantage_B, logp_plus_BT, logp_minus_BT)


def update(
    model: Any, processor: Any, optimizer: Any, rows: list[Any], completions: list[list[int]], advantage_BT: Tensor
) -> None:
    """One PPO-clip step on the tokens of all completions (mean over tokens, gradient norm clipped at 1)."""
    model.train()
    prompts = [messages(row) for row in rows for _ in range(GROUP)]
    logp_BT = token_logps(model, processor, prompts, completions)
    ratio_BT = (logp_BT - logp_BT.detach()).exp()  # on policy: 1, with a gradient
    clipped_BT = ratio_BT.clamp(1 - EPSILON_LOW, 1 + EPSILON_HIGH)
    loss_BT = -torch.min(ratio_BT * advantage_BT, clipped_BT * advantage_BT)
    mask_BT = torch.arange(logp_BT.shape[1]) < torch.tensor([len(ids) for ids in completions])[:, None]
    (loss_BT * mask_BT).sum().div(mask_BT.sum()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def main() -> None:
    torch.manual_seed(0)
    processor = load_processor(str(EMBEDDED))
    model = AutoModelForImageTextToText.from_pretrained(EMBEDDED, dtype=torch.float32, attn_implementation="eager")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
    rows = [problem_row(problem) for problem in generate_problems("train", 6, seed=0)]
    completions = sample(model, processor, rows)
    advantage_BT = assign(model, processor, rows, completions)
    update(model, processor, optimizer, rows, completions, advantage_BT)
    for index, ids in enumerate(completions):
        row = rows[index // GROUP]
        if index % GROUP == 0:
            print(f"\n{row['prompt'][0]['content'].splitlines()[0]}  gold {row['answer']}")
        tokens = [processor.tokenizer.decode([token]) for token in ids]
        print(" ".join(f"{token.strip()}:{advantage_BT[index, t]:+.2f}" for t, token in enumerate(tokens)))


if __name__ == "__main__":
    main()
