#!/usr/bin/env bash
# From nothing to a verdict on one 24 GB GPU: install, doctor, evidence against the plain forward, two steps of each
# method, one JSON to send us. Ten minutes, or longer where the model and vLLM come over a slow line.
#
#   benchmarks/first_gpu_run.sh [OUT]                       Qwen3-VL-2B, LoRA, vLLM
#   MODEL=tiny VLLM=false benchmarks/first_gpu_run.sh [OUT]  the same on a CPU
#
# PYTHON: an interpreter that has cepo already; without it a virtual environment is made in OUT/venv, by `python3`
# (3.11 or later) and pip as it is set up here: the ranges of pyproject.toml, not the versions of our own tests, since
# vLLM wants its own torch. Without a GPU, set PIP_CONSTRAINT to constraints.txt for a torch that needs none.
set -euo pipefail

OUT=${1:-first-gpu-run}
MODEL=${MODEL:-Qwen/Qwen3-VL-2B-Instruct}
VLLM=${VLLM:-true}
METHODS=${METHODS:-grpo rlsd cepo opsd sdpo}
HERE=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$OUT"
rm -f "$OUT"/*.json "$OUT"/*.txt "$OUT"/*.seconds

if [ "$MODEL" != tiny ] && ! nvidia-smi > /dev/null 2>&1; then
    echo "nvidia-smi finds no GPU; on a CPU: MODEL=tiny VLLM=false $0" >&2
    exit 2
fi

if [ -z "${PYTHON:-}" ]; then
    echo "installing into $OUT/venv (several GB where a GPU's torch and vLLM are fetched)"
    SECONDS=0
    python3 -m venv "$OUT/venv"
    "$OUT/venv/bin/pip" install --quiet -e "$HERE$([ "$VLLM" = true ] && echo '[vllm]')"
    PYTHON="$OUT/venv/bin/python"
    echo "$SECONDS" > "$OUT/install.seconds"
fi

# Problems are drawn by the program itself: nothing to download but the model.
FIELDS=(--config tiny/cepo.yaml --model "$MODEL" --max_steps 2 --data_limit 16 --eval_data null --use_vllm "$VLLM"
        --per_device_train_batch_size 4 --gradient_accumulation_steps 2 --num_generations 4 --save_strategy no
        --null_control_every 1)
if [ "$MODEL" != tiny ]; then
    FIELDS+=(--lora_rank 16 --dtype bfloat16 --bf16 true --gradient_checkpointing true --max_completion_length 256
             --vllm_mode colocate --vllm_gpu_memory_utilization 0.4 --vllm_max_model_length 2048)
fi

echo "doctor"
SECONDS=0
"$PYTHON" -m cepo.cli doctor "${FIELDS[@]}" --output_dir "$OUT/doctor" 2>&1 | tee "$OUT/doctor.txt" || true

echo "evidence against the plain forward"
"$PYTHON" "$HERE/benchmarks/measured.py" evidence "$OUT/evidence.json" "${FIELDS[@]}" > "$OUT/evidence.txt" 2>&1 ||
    echo "  failed: see $OUT/evidence.txt"
tail -n 1 "$OUT/evidence.txt"
echo "$SECONDS" > "$OUT/doctor.seconds"

for METHOD in $METHODS; do
    echo "two steps of $METHOD"
    rm -rf "${OUT:?}/$METHOD"
    "$PYTHON" "$HERE/benchmarks/measured.py" train "$OUT/$METHOD.json" "${FIELDS[@]}" \
        --method "$METHOD" --output_dir "$OUT/$METHOD" > "$OUT/$METHOD.txt" 2>&1 || echo "  failed: see $OUT/$METHOD.txt"
done

# shellcheck disable=SC2086
"$PYTHON" "$HERE/benchmarks/measured.py" verdict "$OUT" $METHODS
