"""How often a model is right: generate answers, grade them as training does, report with intervals.

Generating, grading and reporting are apart: generations are saved as JSON lines, and graded and reported
again without a model. Sampling is from the model's own distribution at the given temperature: top-k, top-p,
penalties and suppressed tokens of the checkpoint's generation config do not apply, its end tokens do.
"""

from cepo.evaluate.batches import Team
from cepo.evaluate.generate import (
    encode_prompts,
    end_tokens,
    evaluating,
    generate_answers,
    messages_with_images,
    own_randomness,
)
from cepo.evaluate.records import Generation, load_generations, regrade, save_generations
from cepo.evaluate.scores import EvalReport, Rates, Score, format_families, format_report, report
from cepo.evaluate.stops import NO_STOPS, Stops, stops_of

__all__ = [
    "NO_STOPS",
    "EvalReport",
    "Generation",
    "Rates",
    "Score",
    "Stops",
    "Team",
    "encode_prompts",
    "end_tokens",
    "evaluating",
    "format_families",
    "format_report",
    "generate_answers",
    "load_generations",
    "messages_with_images",
    "own_randomness",
    "regrade",
    "report",
    "save_generations",
    "stops_of",
]
