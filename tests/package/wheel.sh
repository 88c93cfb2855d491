#!/usr/bin/env bash
# The wheel in an empty environment, used from another folder: what someone has who pip-installs cepo. About 3 GB of
# disk and some minutes; everything is removed afterwards. WHEEL_ENV=DIR keeps the environment there.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
env=${WHEEL_ENV:-$work/env}

# A copy: no stale build/ or egg-info can lend the wheel a file.
mkdir "$work/source"
cp -r "$root"/{pyproject.toml,README.md,src} "$work/source"
rm -rf "$work"/source/src/*.egg-info
${PYTHON:-python3} -m venv "$env"
"$env/bin/pip" wheel --quiet --disable-pip-version-check --no-deps -w "$work/dist" "$work/source"
"$env/bin/pip" install --quiet --disable-pip-version-check -c "$root/constraints.txt" "$work"/dist/*.whl

cd "$work"
unset PYTHONPATH
"$env/bin/python" - "$root" <<'PY'
import importlib.resources as resources
import sys
from pathlib import Path

import cepo

home = Path(str(resources.files(cepo)))
assert Path(sys.argv[1]) not in home.parents, f"cepo comes from the checkout: {home}"
source = Path(sys.argv[1]) / "src" / "cepo"
missing = [
    str(path.relative_to(source))
    for path in sorted(source.rglob("*"))
    if path.is_file() and "__pycache__" not in path.parts and not (home / path.relative_to(source)).is_file()
]
assert not missing, f"the wheel lacks {missing}"
assert (home / "py.typed").is_file() and (home / "models/embedded_weights/model.safetensors").is_file()
PY
"$env/bin/cepo" --version
"$env/bin/cepo" data preview --out preview.html
test -s preview.html
"$env/bin/cepo" train --config tiny/cepo.yaml --output_dir run --max_steps 2 --data_limit 16 --eval_limit 4 --eval_samples 1 \
    --per_device_train_batch_size 8 --gradient_accumulation_steps 1 --num_generations 4 --max_completion_length 32 --save_steps 2
test -s run/summary.json
"$env/bin/cepo" export run --out exported
echo "wheel: ok"
