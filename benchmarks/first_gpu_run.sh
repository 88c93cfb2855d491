#!/usr/bin/env bash
# From nothing to a verdict on one 24 GB GPU: install, doctor, the probe, two steps of each method, one JSON to send us.
#
#   benchmarks/first_gpu_run.sh [OUT]                       Qwen3-VL-2B, LoRA, vLLM
#   MODEL=tiny VLLM=false benchmarks/first_gpu_run.sh [OUT]  the same on a CPU
#
# PYTHON: an interpreter that has cepo already; without it a virtual environment is made in OUT/venv.
set -euo pipefail

OUT=${1:-first-gpu-run}
MODEL=${MODEL:-Qwen/Qwen3-VL-2B-Instruct}
VLLM=${VLLM:-true}
METHODS=${METHODS:-grpo rlsd cepo opsd sdpo}
HERE=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$OUT"

if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$OUT/venv"
    EXTRA=$([ "$VLLM" = true ] && echo '[vllm]' || echo '')
    "$OUT/venv/bin/pip" install --quiet -e "$HERE$EXTRA"
    PYTHON="$OUT/venv/bin/python"
fi

# Problems are drawn by the program itself: nothing to download but the model.
FIELDS=(--config tiny/cepo.yaml --model "$MODEL" --max_steps 2 --data_limit 16 --eval_data null --use_vllm "$VLLM"
        --per_device_train_batch_size 4 --gradient_accumulation_steps 2 --num_generations 4 --max_completion_length 64
        --save_strategy no --null_control_every 1)
if [ "$MODEL" != tiny ]; then
    FIELDS+=(--lora_rank 16 --dtype bfloat16 --bf16 true --vllm_mode colocate --vllm_gpu_memory_utilization 0.3
             --vllm_max_model_length 2048 --gradient_checkpointing true)
fi

echo "doctor, and the model's scoring against its own forward"
"$PYTHON" -m cepo.cli doctor "${FIELDS[@]}" --load --output_dir "$OUT/doctor" | tee "$OUT/doctor.txt" || true

for METHOD in $METHODS; do
    echo "two steps of $METHOD"
    rm -rf "$OUT/$METHOD"
    "$PYTHON" "$HERE/benchmarks/measured.py" "$OUT/$METHOD.json" train "${FIELDS[@]}" \
        --method "$METHOD" --output_dir "$OUT/$METHOD" > "$OUT/$METHOD.txt" 2>&1 || echo "  failed: see $OUT/$METHOD.txt"
done

"$PYTHON" "$HERE/benchmarks/measured.py" --verdict "$OUT" $METHODS
