"""The sampler draws what `model.generate` would, from prompts and from prefixes, with images and without."""

import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from cepo.data.rows import problem_row
from cepo.evaluate import encode_prompts, end_tokens
from cepo.geometry import generate
from cepo.lab.audit.sampling import Prompt, Sampler, Start, encode
from cepo.models.embedded import EMBEDDED
from cepo.models.processor import load_processor
from tests.trainer.conftest import embedded

ROWS = [problem_row(problem) for problem in generate("validation", 3, seed=4, families=["rectangle", "isosceles"])]
TOKENS = 12


@pytest.fixture(scope="module")
def processor():
    return load_processor(str(EMBEDDED))


@pytest.fixture(scope="module")
def model():
    return embedded()


def sampler(model, processor, **changes):
    settings = {"temperature": 1.0, "max_new_tokens": TOKENS} | changes
    return Sampler(model, end_tokens(model), processor.image_token_id, **settings)


def greedy(model, processor, row):
    """The argmax completion, of transformers' own generation."""
    inputs = encode_prompts(processor, [row])
    config = GenerationConfig(
        do_sample=False, max_new_tokens=TOKENS, eos_token_id=end_tokens(model), pad_token_id=0, use_cache=True
    )
    return model.generate(**inputs, generation_config=config)[0, inputs["input_ids"].shape[1] :].tolist()


def test_cold_samples_are_greedy_completions(model, processor):
    """Three prompts of different lengths side by side, two completions each."""
    starts = [Start(encode(processor, row)) for row in ROWS]
    assert len({len(start.prompt.ids) for start in starts}) > 1
    completions = sampler(model, processor, temperature=1e-4).complete(starts, 2, seed=0)
    for row, own in zip(ROWS, completions, strict=True):
        assert own == [greedy(model, processor, row)] * 2


def test_a_prefix_is_continued(model, processor):
    whole = greedy(model, processor, ROWS[0])
    starts = [Start(encode(processor, ROWS[0]), tuple(whole[:count])) for count in (5, 0, 9)]
    completions = sampler(model, processor, temperature=1e-4).complete(starts, 1, seed=0)
    for start, (completion,) in zip(starts, completions, strict=True):
        begun = len(start.prefix)
        assert completion[: TOKENS - begun] == whole[begun:]


def test_shares_of_samples_are_the_model_s_probabilities(model, processor):
    prompt = encode(processor, ROWS[0])
    draws = 3000
    (completions,) = sampler(model, processor, max_new_tokens=1).complete([Start(prompt)], draws, seed=0)
    with torch.no_grad():
        logits = model(**encode_prompts(processor, [ROWS[0]])).logits[0, -1]
    logits[processor.image_token_id] = -torch.inf
    probabilities = logits.softmax(-1)
    for token in probabilities.topk(3).indices.tolist():
        share = sum(completion == [token] for completion in completions) / draws
        p = probabilities[token].item()
        assert share == pytest.approx(p, abs=4 * (p * (1 - p) / draws) ** 0.5 + 1e-3)


def test_the_seed_decides_and_the_caller_s_state_stays(model, processor):
    starts = [Start(encode(processor, row)) for row in ROWS]
    model.train()
    state = torch.get_rng_state()
    one = sampler(model, processor).complete(starts, 3, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    model.eval()
    assert one == sampler(model, processor).complete(starts, 3, seed=1)
    assert one != sampler(model, processor).complete(starts, 3, seed=2)


def test_every_start_gets_its_samples_and_is_counted_once(model, processor):
    starts = [Start(encode(processor, row)) for row in ROWS]
    counted = []
    completions = sampler(model, processor, max_new_tokens=2, tokens=500).complete(starts, 6, 0, counted.append)
    assert [len(own) for own in completions] == [6, 6, 6]
    assert sum(counted) == 3


def test_completions_end_with_the_end_token_or_at_the_limit(model, processor):
    (completions,) = sampler(model, processor, max_new_tokens=60).complete(
        [Start(encode(processor, ROWS[0]))], 8, seed=0
    )
    ends = end_tokens(model)
    for ids in completions:
        assert len(ids) == 60 or ids[-1] in ends
        assert not any(token in ends for token in ids[:-1])


def test_an_image_placeholder_is_never_sampled(processor):
    model = embedded()
    image = processor.image_token_id
    with torch.no_grad():  # the embeddings are tied: the placeholder's logit is made the largest
        head = model.lm_head
        model.lm_head = torch.nn.Linear(head.in_features, head.out_features, bias=True)
        model.lm_head.weight.copy_(head.weight)
        model.lm_head.bias.zero_()
        model.lm_head.bias[image] = 1000.0
    (completions,) = sampler(model, processor).complete([Start(encode(processor, ROWS[0]))], 4, seed=0)
    assert image not in [token for ids in completions for token in ids]


def test_text_models():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, eos_token_id=39
    )
    model = LlamaForCausalLM(config).eval()
    prompts = [Prompt([], [1, 5, 7], None), Prompt([], [3, 4, 5, 6, 7, 8], None)]
    text = Sampler(model, [39], None, temperature=1e-4, max_new_tokens=10)
    completions = text.complete([Start(prompt) for prompt in prompts], 1, seed=0)
    for prompt, (completion,) in zip(prompts, completions, strict=True):
        ids = torch.tensor([prompt.ids])
        whole = model.generate(ids, do_sample=False, max_new_tokens=10, pad_token_id=0, eos_token_id=39)
        assert completion == whole[0, len(prompt.ids) :].tolist()
