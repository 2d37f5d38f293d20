"""Runs arms of parameter overrides over seeds as DVC experiments and gathers their reports.

Finished runs are kept in `benchmarks/results/<name>_runs.json` with a digest of the code,
parameters and assets that made them: a run of other code is never mixed into a table. The table
is `benchmarks/results/<name>.json`: per arm the columns, each `{mean, low, high, seeds}` with the
95 % interval over seeds.
"""

import json
import logging
import multiprocessing
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import dvc.api
import torch
import yaml

from fgds_core.classify.metrics import interval
from flows.cli.server import prefect_server

log = logging.getLogger(__name__)

RESULTS = Path("benchmarks/results")
POLL_SECONDS = 20

Overrides = Mapping[str, Any]

Item = TypeVar("Item")
Result = TypeVar("Result")

# What each stage reports; of two with one name the later stage's counts.
REPORTS = {
    "train_baseline": {
        "test": "reports/baseline.json",
        "validation": "reports/baseline/validation.json",
    },
    "train_control": {"control": "reports/control.json"},
    "assess": {"synthetic": "reports/assess/measures.json"},
    "retrain": {"test": "reports/final.json", "validation": "reports/final/validation.json"},
}

PLAIN = ("criterion", "density", "fid")
"""Columns that are shown as they are; all others are shares, shown in percent."""

Columns = Mapping[str, tuple[str, tuple[str, ...]]]
"""Column -> (report: test, validation or synthetic; keys of its value)."""


@dataclass(frozen=True)
class Arm:
    """One line of a table.

    Attributes:
        overrides: Parameters that differ from `params.yaml`, by their dotted paths.
        stages: The stages it needs; earlier ones follow.
    """

    overrides: Overrides
    stages: tuple[str, ...] = ("assess", "retrain")


def experiment_name(arm: str, seed: int) -> str:
    """Name of the experiment in `dvc exp show`, for instance `dual-dropout-seed0`."""
    words = "".join(c if c.isalnum() else " " for c in arm).split()
    return "-".join(words) + f"-seed{seed}"


def source_digest() -> str:
    """Digest of all that makes a result: the stages' code and other dependencies, parameters."""
    stages = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
    data = yaml.safe_load(Path("params.yaml").read_text())["data"]["root"]
    names = ("prepare", "train_baseline", "train_control", "adapt", "synthesize")
    names += ("assess", "retrain")
    deps = {dep.replace("data/watched", data) for name in names for dep in stages[name]["deps"]}
    listing = subprocess.run(
        ["git", "ls-files", "-s", "--", "params.yaml", *sorted(deps)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sha256(listing.encode()).hexdigest()


def experiments() -> dict[str, str]:
    """Finished experiments by name, with their commits."""
    listing = subprocess.run(
        ["git", "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    found = {}
    for line in listing.splitlines():
        ref, commit = line.split()
        parts = ref.split("/")  # refs/exps/<2 digits>/<38 digits of the parent>/<name>
        if len(parts) == 5 and parts[2] + parts[3] == head:
            found[parts[4]] = commit
    return found


def collect(arm: Arm, commit: str, columns: Columns) -> dict[str, float | None]:
    """The columns of one finished run; absent values are None."""
    reports = {name: path for stage in arm.stages for name, path in REPORTS[stage].items()}
    row: dict[str, float | None] = {}
    for column, (report, keys) in columns.items():
        value: Any = None
        if report in reports:
            value = json.loads(dvc.api.read(reports[report], rev=commit))
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        row[column] = value
    return row


def table(
    runs: Mapping[str, Any], arms: Sequence[str], columns: Columns
) -> dict[str, dict[str, Any]]:
    """Mean and 95 % interval over seeds, per arm and column."""
    out: dict[str, dict[str, Any]] = {}
    for arm in arms:
        rows = [run["columns"] for run in runs.values() if run["arm"] == arm]
        if not rows:
            continue
        out[arm] = {}
        for column in columns:
            values = [row[column] for row in rows if row[column] is not None]
            out[arm][column] = interval(values) if values else None
    return out


def paired(runs: Mapping[str, Any], arm: str, other: str, column: str) -> dict[str, Any] | None:
    """Mean and 95 % interval of the difference of two arms within a seed; None below two seeds."""
    values: dict[str, dict[int, float]] = {arm: {}, other: {}}
    for run in runs.values():
        if run["arm"] in values:
            values[run["arm"]][run["seed"]] = run["columns"][column]
    seeds = sorted(values[arm].keys() & values[other].keys())
    if len(seeds) < 2:
        return None
    return interval([values[arm][seed] - values[other][seed] for seed in seeds])


def as_markdown(arms: Mapping[str, Mapping[str, Any]], columns: Columns) -> str:
    """The table in Markdown; accuracies and shares in percent."""

    def cell(column: str, value: Mapping[str, Any] | None) -> str:
        if value is None:
            return ""
        scale, digits = (1, 2) if column in PLAIN else (100, 1)
        mean = f"{value['mean'] * scale:.{digits}f}"
        if value["low"] is None:
            return mean
        return f"{mean} ± {(value['high'] - value['mean']) * scale:.{digits}f}"

    lines = ["| arm | " + " | ".join(columns) + " | seeds |", "|---" * (len(columns) + 2) + "|"]
    for arm, row in arms.items():
        cells = [cell(column, row[column]) for column in columns]
        seeds = row["overall"]["seeds"]
        lines.append(f"| {arm} | " + " | ".join(cells) + f" | {seeds} |")
    return "\n".join(lines)


def percent(value: Mapping[str, Any] | None, sign: str = "") -> str:
    """A mean in percent with half its interval, or nothing."""
    if value is None:
        return ""
    mean = f"{100 * value['mean']:{sign}.1f}"
    if value["low"] is None:
        return mean
    return f"{mean} ± {100 * (value['high'] - value['mean']):.1f}"


def each_in_processes(
    make: Callable[[Item], Result],
    items: Mapping[str, Item],
    keep: Callable[[str, Result], None],
    jobs: int,
) -> None:
    """Makes something of each item in processes of one thread each, and keeps it at once.

    Args:
        make: What is done with an item; is sent to the processes.
        items: By the names they are told by.
        keep: Called here with what came out.
        jobs: Processes.

    Raises:
        SystemExit: Some failed; the others are kept.
    """
    failed: list[str] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (1,)) as pool:
        waiting = {pool.submit(make, item): name for name, item in items.items()}
        for number, done in enumerate(as_completed(waiting), start=1):
            name = waiting[done]
            if (error := done.exception()) is not None:
                failed.append(name)
                log.error("%s: %r", name, error)
                continue
            log.info("%d/%d %s", number, len(items), name)
            keep(name, done.result())
    if failed:
        raise SystemExit(f"{len(failed)} failed: {'; '.join(failed)}")


def write_json(path: Path, value: object) -> None:
    """Writes JSON under a temporary name first, so that a killed run leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    part.replace(path)


def queue(name: str, arm: Arm, seed: int) -> None:
    """Puts one experiment into DVC's queue."""
    command = ["dvc", "exp", "run", "--quiet", "--queue", "--name", name]
    for key, value in {"seed": seed, **arm.overrides}.items():
        command += ["-S", f"{key}={value}"]
    subprocess.run([*command, *arm.stages], check=True)


def run_experiments(
    arms: Mapping[str, Arm], seeds: Sequence[int], columns: Columns, jobs: int, name: str
) -> dict[str, dict[str, Any]]:
    """Runs what is missing and writes the table after every finished experiment.

    Args:
        arms: The lines of the table.
        seeds: Run seeds; each is one experiment an arm.
        columns: What to gather of each run.
        jobs: Experiments at a time, each with its share of the cores.
        name: Results go to `benchmarks/results/<name>.json` and `<name>_runs.json`.

    Returns:
        Per arm the columns, each `{mean, low, high, seeds}` or None.
    """
    if changed := subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no", "--", "*.py", "params.yaml"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout:
        raise SystemExit(f"Commit these first, experiments start from HEAD:\n{changed}")
    digest = source_digest()
    runs_path = RESULTS / f"{name}_runs.json"
    kept = json.loads(runs_path.read_text()) if runs_path.exists() else {}
    runs = {key: run for key, run in kept.items() if run["source_digest"] == digest}
    wanted = {experiment_name(arm, seed): (arm, seed) for seed in seeds for arm in arms}

    def gather() -> int:
        finished = experiments()
        for experiment, (arm, seed) in wanted.items():
            if experiment in finished and experiment not in runs:
                try:
                    row = collect(arms[arm], finished[experiment], columns)
                except ValueError as error:  # seen while DVC was still writing: read it next time
                    log.info("%s cannot be read yet: %s", experiment, error)
                    continue
                runs[experiment] = {
                    "arm": arm,
                    "seed": seed,
                    "overrides": dict(arms[arm].overrides),
                    "source_digest": digest,
                    "columns": row,
                }
                log.info("%s: %s", experiment, runs[experiment]["columns"])
        write_json(runs_path, runs)
        write_json(RESULTS / f"{name}.json", table(runs, list(arms), columns))
        return sum(experiment in runs for experiment in wanted)

    before = gather()
    for experiment, (arm, seed) in wanted.items():
        if experiment not in runs:
            queue(experiment, arms[arm], seed)
    if before < len(wanted):
        started = time.monotonic()
        threads = max(1, (os.cpu_count() or 1) // jobs)
        with prefect_server():
            worker = subprocess.Popen(
                ["dvc", "exp", "run", "--quiet", "--run-all", "--jobs", str(jobs)],
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            )
            while worker.poll() is None:
                time.sleep(POLL_SECONDS)
                done = gather()
                minutes = (time.monotonic() - started) / 60
                left = minutes / (done - before) * (len(wanted) - done) if done > before else None
                eta = "" if left is None else f"  ETA {left:.0f} min"
                log.info("%d/%d experiments  %.0f min%s", done, len(wanted), minutes, eta)
    if gather() < len(wanted):
        absent = sorted(set(wanted) - set(runs))
        raise SystemExit(f"{len(absent)} experiments failed: {absent}; see `dvc queue logs NAME`")
    return table(runs, list(arms), columns)
