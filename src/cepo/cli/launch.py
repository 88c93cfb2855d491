"""`cepo launch`: print and run the accelerate command that trains a recipe on many devices."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from cepo.cli.console import Commands, add_command
from cepo.errors import PackageError, SettingError

__all__ = ["add", "launch_command"]

CONFIGS = Path(__file__).parents[1] / "recipes" / "accelerate"


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "launch", "train on many devices or machines through accelerate",
        "cepo launch --config geometry3k/cepo.yaml --dry-run",
    )  # fmt: skip
    parser.add_argument("--config", type=Path, required=True, help="recipe (YAML)")
    names = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.yaml")))
    parser.add_argument("--accelerate", default="ddp", help=f"{names}; or a file of accelerate's")
    parser.add_argument("--processes", type=int, default=None, help="devices over all machines (default: the file's)")
    parser.add_argument("--nodes", type=int, default=1, help="machines")
    parser.add_argument("--node-rank", type=int, default=0, help="which of them this is")
    parser.add_argument("--main-address", default=None, help="host of machine 0; needed for more than one")
    parser.add_argument(
        "--main-port",
        type=int,
        default=None,
        help="default: a free one; of several machines 29500",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the command only")
    parser.set_defaults(run=run, takes_fields=True)


def run(options: argparse.Namespace) -> int:
    from cepo.runs.recipe import find_recipe, load_recipe, parse_overrides, resolve_recipe

    config = accelerate_config(options.accelerate)
    command = launch_command(options, config, find_recipe(options.config))
    print(shlex.join(command))
    values = load_recipe(options.config) | parse_overrides(options.fields)
    if options.dry_run:
        return 0
    check_devices(config, options.processes, options.nodes)
    from cepo.trainer.checks import check_vllm

    check_vllm(resolve_recipe(values)[1])  # what is wrong is said once, and not by every process
    return subprocess.run(command).returncode


def accelerate_config(name: str) -> Path:
    """A file of accelerate's, or one that comes with the package by its name. SettingError: there is none."""
    for config in (Path(name), CONFIGS / f"{name}.yaml"):
        if config.is_file():
            return config
    known = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.yaml")))
    raise SettingError(f"there is no accelerate config {name!r}; give a file or one of {known}")


def launch_command(options: argparse.Namespace, config: Path, recipe: Path) -> list[str]:
    """The command line. SettingError: several machines without the first one's address, or a rank that is none."""
    if options.nodes > 1 and options.main_address is None:
        raise SettingError(f"--nodes {options.nodes} needs --main-address, the host of machine 0")
    if not 0 <= options.node_rank < options.nodes:
        raise SettingError(f"--node-rank must lie in 0..{options.nodes - 1}, got {options.node_rank}")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    if options.processes is not None:
        command += ["--num_processes", str(options.processes)]
    port = options.main_port or main_port(config, options.nodes)
    command += ["--main_process_port", str(port)]
    if options.nodes > 1:
        command += ["--num_machines", str(options.nodes), "--machine_rank", str(options.node_rank)]
        command += ["--main_process_ip", options.main_address]
    return [*command, "-m", "cepo.cli", "train", "--config", str(recipe), *options.fields]


def main_port(config: Path, nodes: int) -> int:
    """The accelerate config's; else 0, which takes a free one, so that two runs of one machine do not meet."""
    import yaml

    given = yaml.safe_load(config.read_text()).get("main_process_port")
    return int(given or (29500 if nodes > 1 else 0))


def check_devices(config: Path, processes: int | None, nodes: int) -> None:
    """Each process of this machine has a GPU, and what the accelerate config needs is installed.

    Raises:
        SettingError, PackageError: what is missing and how to get it.
    """
    import torch
    import yaml

    settings = yaml.safe_load(config.read_text())
    if settings.get("distributed_type") == "DEEPSPEED" and find_spec("deepspeed") is None:
        raise PackageError("DeepSpeed is not installed: pip install 'cepo[deepspeed]'")
    if not torch.cuda.is_available():
        raise SettingError(
            "no GPU is visible to torch, and `cepo launch` is for GPUs; on a CPU use `cepo train`. --dry-run shows the "
            "command only"
        )
    machines = nodes if nodes > 1 else int(settings.get("num_machines") or 1)
    wanted, have = processes or int(settings.get("num_processes") or 1), torch.cuda.device_count()
    if wanted > machines * have:
        raise SettingError(
            f"{wanted} processes on {machines} machine(s) need {-(-wanted // machines)} GPUs each, this one has "
            f"{have}: pass --processes {machines * have} (over all machines)"
        )
