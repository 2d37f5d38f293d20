"""Which networks of timm can be the classifier: one of each family, taken through the product.

    python -m benchmarks.timm_families            # what is not measured yet; about an hour
    python -m benchmarks.timm_families --write    # docs/networks.md from what is measured

For each module of timm.models the smallest member (by its name) goes through the trial that every
training begins with, at the smallest of a few sizes that it takes. Each runs in a process of its
own, so that a native crash is a row of the table. What is measured is kept as it comes, in
benchmarks/results/timm_families.json.
"""

import argparse
import json
import os
import re
import resource
import signal
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from fgds_core.classify.config import TrainConfig, final_recipe
from fgds_core.classify.network import create_classifier
from fgds_core.errors import InputError
from fgds_core.stages.trial import train_a_little, try_training
from flows.cli.params import read_params

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "timm_families.json"
TABLE = ROOT / "docs" / "networks.md"
SIZES = (32, 64, None)
"""Pixels a side that are tried, in this order; None is the network's own."""
CPU_S = 200
"""Processor seconds a family may take."""
CLASS_NAMES = ("cat", "dog")
# Parts of names that tell a small member, the smallest first
SMALL = (
    "test", "zepto", "atto", "femto", "pico", "nano", "micro", "xxs", "xxt", "xtiny", "ti", "tiny",
    "xs", "mini", "t", "x", "s", "small", "a0", "b0", "m0", "m1", "t0", "s0", "s1", "0", "1", "10",
    "18", "002", "004", "015", "050", "035", "11", "19b", "b1", "b16",
)  # fmt: skip


BESIDE = {"byobnet, MobileOne": "mobileone_s0", "byobnet, RepVGG": "repvgg_a0"}
"""Families within a module that have their own ways."""

INTRODUCTION = """# Networks

`train_baseline.model` is a network of timm. Here is one of each family (module) of timm {timm},
the smallest by its name, as measured with torch {torch} on a CPU by `python -m
benchmarks.timm_families`: made, trained for a step, saved, loaded and asked for features and
for the gradient that guides, in a process of its own where writing beyond memory is fatal.

{works} of {number} work. Every training begins with a trial of the very network, batch, size and
device that its parameters name; it takes a tenth of a second for the default one. What fails there
is refused before training, with the key at fault; the refusals below are those messages.

`size` is the smallest of 32, 64 and its own size that works, in pixels a side. `channels last`
says how images lie in memory. Networks with a strided 1 x 1 convolution on few channels are kept
from it: on CPUs oneDNN would write beyond its memory (RepVGG and MobileOne died of that).

| family | network | million weights | size | channels last | result |
|---|---|---|---|---|---|"""


def families() -> dict[str, str]:
    """The smallest member of each module of timm.models, by the module's name."""
    import timm

    modules = defaultdict(list)
    for model in timm.list_models():
        modules[timm.model_entrypoint(model).__module__.rpartition(".")[2]].append(model)
    smallest = {module: min(members, key=_size) for module, members in modules.items()}
    return dict(sorted((smallest | BESIDE).items()))


def _size(model: str) -> tuple[int, list[int], str]:
    """Orders names of networks by the size they tell."""
    words = re.split(r"[_.]|(?<=[a-z])(?=\d)", model)
    ranks = [SMALL.index(word) for word in words if word in SMALL]
    numbers = [int(number) for number in re.findall(r"\d+", model)]
    return min(ranks, default=len(SMALL)), numbers, model


def recipe(model: str, input_size: int | None) -> TrainConfig:
    """Batches of two images."""
    return final_recipe(
        read_params(ROOT / "params.yaml")["train_baseline"],
        {
            "model": model,
            "model_kwargs": {},
            "input_size": input_size,
            "num_steps": 1,
            "batch_size": 2,
            "learning_rate": 1e-4,
            "warmup_steps": 0,
            "ema_decay": 0.9,
            "shift": 1,
            "erase": 0.2,
            "eval_every": 1,
        },
    )


def measure(model: str) -> dict[str, Any]:
    """Takes a network through the product at the first of `SIZES` that it takes.

    Returns:
        `works`, `input_size`, `weights` (how many) and `channels_last`, or `message`.
    """
    for size in SIZES:
        config = recipe(model, size)
        try:
            train_a_little(config, CLASS_NAMES, (32, 32), "cpu")
        except Exception:  # networks of timm fail in every way there is
            continue
        classifier = create_classifier(model, {}, CLASS_NAMES, size, seed=0)
        weights = [w for w in classifier.network.parameters() if w.ndim == 4]
        return {
            "works": True,
            "input_size": classifier.contract.input_size,
            "weights": sum(weight.numel() for weight in classifier.network.parameters()),
            "channels_last": any(
                w.is_contiguous(memory_format=torch.channels_last) and not w.is_contiguous()
                for w in weights
            ),
        }
    try:
        try_training(recipe(model, None), CLASS_NAMES, (32, 32), "cpu")
    except InputError as error:
        return {"works": False, "message": str(error)}
    return {"works": False, "error": "fails at times"}


def measured_apart(model: str) -> dict[str, Any]:
    """The same in a process of its own, whose death is an answer too."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        torch.set_num_threads(1)
        try:
            answer = measure(model)
        except BaseException as error:  # an error that the product lets through
            answer = {"works": False, "error": f"{type(error).__name__}: {error}"[:300]}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    status = os.waitpid(child, 0)[1]
    if text:
        return dict(json.loads(text))
    number = os.WTERMSIG(status)
    late = number in (signal.SIGXCPU, signal.SIGKILL)  # the latter of the system, short of memory
    what = (
        f"took more than {CPU_S} s or the memory there is"
        if late
        else f"died of {signal.Signals(number).name}"
    )
    return {"works": False, "error": what}


def read_results() -> dict[str, dict[str, Any]]:
    """What was measured, by family."""
    return dict(json.loads(RESULTS.read_text())["families"]) if RESULTS.exists() else {}


def run() -> None:
    """Measures the families that are not measured with this timm and torch."""
    import timm

    versions = {"timm": timm.__version__, "torch": torch.__version__.partition("+")[0]}
    known = {}
    if RESULTS.exists() and json.loads(RESULTS.read_text())["versions"] == versions:
        known = read_results()
    wanted = families()
    for family, model in sorted(wanted.items(), key=lambda item: _size(item[1])):
        if known.get(family, {}).get("model") == model:
            continue
        known[family] = {"model": model, **measured_apart(model)}
        print(family, known[family], flush=True)
        record = {name: known[name] for name in wanted if name in known}
        RESULTS.write_text(json.dumps({"versions": versions, "families": record}, indent=1) + "\n")


def table() -> str:
    """The document, from what was measured."""
    versions = json.loads(RESULTS.read_text())["versions"]
    results = read_results()
    works = sum(result["works"] for result in results.values())
    missing = families().keys() - results.keys()
    lines = [INTRODUCTION.format(**versions, works=works, number=len(results))]
    for family, result in results.items():
        if result["works"]:
            cells = [
                f"{result['weights'] / 1e6:.1f}",
                str(result["input_size"]),
                "yes" if result["channels_last"] else "no",
                "works",
            ]
        else:
            said = result.get("message")
            what = f"refused: {said}" if said else f"not settled: {result['error']}"
            cells = ["", "", "", what.replace("|", "/")]
        lines.append(f"| {family} | `{result['model']}` | {' | '.join(cells)} |")
    if missing:
        lines += ["", f"Not measured yet: {', '.join(sorted(missing))}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write docs/networks.md")
    if parser.parse_args().write:
        TABLE.write_text(table())
    else:
        if "MALLOC_CHECK_" not in os.environ:  # memory that is written beyond ends the process
            checked = {"MALLOC_CHECK_": "3", "LD_PRELOAD": "libc_malloc_debug.so.0"}
            command = [sys.executable, "-m", "benchmarks.timm_families"]
            os.execve(sys.executable, command, {**os.environ, **checked})
        run()
