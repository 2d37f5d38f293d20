"""The table of arms: does synthesis help, does dual conditioning, does feedback?

    python -m benchmarks.ablation             # 8 arms x 5 seeds, hours on 2 cores; resumes
    python -m benchmarks.ablation --arms dual --seeds 0 1

Every arm is a set of parameter overrides and every (arm, seed) one DVC experiment, so `dvc exp
show` lists them all. The data split is fixed; the seed moves the baseline, the synthetic images
and the retraining. Finished runs are kept in `benchmarks/results/ablation_runs.json` with a digest
of the code, parameters and assets that made them: a run of other code is never mixed into the
table. The table is `benchmarks/results/ablation.json`: per arm the columns, each
`{mean, low, high, seeds}` with the 95 % interval over seeds.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from fgds_core.metrics import interval

log = logging.getLogger(__name__)

RESULTS = Path("benchmarks/results")
POLL_SECONDS = 20

Overrides = Mapping[str, Any]

UNGUIDED: Overrides = {"synthesize.feedback": "none", "synthesize.feedback_scale": 0.0}

# Scales were chosen on validation images alone: see docs/results.md.
ARMS: Mapping[str, Overrides] = {
    "baseline": {},
    "baseline, class-balanced": {"train_baseline.sampling": "class-balanced"},
    "text only": {**UNGUIDED, "synthesize.conditioning": "text"},
    "dual": {**UNGUIDED, "synthesize.embedding_dropout": 0.0},
    "dual + dropout": {**UNGUIDED},
    "feedback: loss": {"synthesize.feedback": "loss"},
    "feedback: hardness": {"synthesize.feedback": "hardness"},
    "feedback: entropy": {"synthesize.feedback": "entropy"},
}

# Column -> (report, path of its value).
COLUMNS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "overall": ("accuracy", ("overall",)),
    "many": ("accuracy", ("many",)),
    "medium": ("accuracy", ("medium",)),
    "few": ("accuracy", ("few",)),
    "fid": ("synthetic", ("fid", "value")),
    "density": ("synthetic", ("density", "value")),
    "coverage": ("synthetic", ("coverage", "value")),
    "label_agreement": ("synthetic", ("label_agreement", "value")),
}


def stages_of(arm: str) -> list[str]:
    """The stages an arm needs: a baseline arm trains on real images only."""
    return ["train_baseline"] if arm.startswith("baseline") else ["assess", "retrain"]


def experiment_name(arm: str, seed: int) -> str:
    """Name of the experiment in `dvc exp show`, for instance `dual-dropout-seed0`."""
    words = "".join(c if c.isalnum() else " " for c in arm).split()
    return "-".join(words) + f"-seed{seed}"


def source_digest() -> str:
    """Digest of all that makes a result: the stages' code and dependencies, parameters, assets."""
    stages = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
    names = ("prepare", "train_baseline", "synthesize", "assess", "retrain")
    deps = {dep for name in names for dep in stages[name]["deps"]}
    listing = subprocess.run(
        ["git", "ls-files", "-s", "--", "params.yaml", "assets", *sorted(deps)],
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


def report_at(commit: str, path: str) -> dict[str, Any]:
    """A JSON report as one experiment committed it."""
    text = subprocess.run(
        ["git", "show", f"{commit}:{path}"], check=True, capture_output=True, text=True
    ).stdout
    return dict(json.loads(text))


def collect(arm: str, commit: str) -> dict[str, float | None]:
    """The columns of one finished run; absent values are None."""
    if arm.startswith("baseline"):
        reports = {"accuracy": report_at(commit, "reports/baseline.json")}
    else:
        reports = {
            "accuracy": report_at(commit, "reports/final.json"),
            "synthetic": report_at(commit, "reports/synthetic.json"),
        }
    row: dict[str, float | None] = {}
    for column, (report, path) in COLUMNS.items():
        value: Any = reports.get(report)
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        row[column] = value
    return row


def table(runs: Mapping[str, Any], arms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Mean and 95 % interval over seeds, per arm and column."""
    out: dict[str, dict[str, Any]] = {}
    for arm in arms:
        rows = [run["columns"] for run in runs.values() if run["arm"] == arm]
        if not rows:
            continue
        out[arm] = {}
        for column in COLUMNS:
            values = [row[column] for row in rows if row[column] is not None]
            out[arm][column] = interval(values) if values else None
    return out


def as_markdown(arms: Mapping[str, Mapping[str, Any]]) -> str:
    """The table as it stands in docs/results.md."""

    def cell(column: str, value: Mapping[str, Any] | None) -> str:
        if value is None:
            return ""
        scale = 1 if column in ("fid", "density") else 100
        digits = 2 if column in ("fid", "density") else 1
        mean = f"{value['mean'] * scale:.{digits}f}"
        if value["low"] is None:
            return mean
        return f"{mean} ± {(value['high'] - value['mean']) * scale:.{digits}f}"

    lines = ["| arm | " + " | ".join(COLUMNS) + " | seeds |", "|---" * (len(COLUMNS) + 2) + "|"]
    for arm, columns in arms.items():
        cells = [cell(column, columns[column]) for column in COLUMNS]
        seeds = columns["overall"]["seeds"]
        lines.append(f"| {arm} | " + " | ".join(cells) + f" | {seeds} |")
    return "\n".join(lines)


def write_json(path: Path, value: object) -> None:
    """Writes JSON under a temporary name first, so that a killed run leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    part.replace(path)


def queue(arm: str, seed: int, overrides: Overrides) -> None:
    """Puts one experiment into DVC's queue."""
    settings = {"seed": seed, **overrides}
    command = ["dvc", "exp", "run", "--quiet", "--queue", "--name", experiment_name(arm, seed)]
    for key, value in settings.items():
        command += ["-S", f"{key}={value}"]
    subprocess.run([*command, *stages_of(arm)], check=True)


def run_ablation(
    arms: Mapping[str, Overrides], seeds: Sequence[int], jobs: int, name: str = "ablation"
) -> dict[str, dict[str, Any]]:
    """Runs what is missing and writes the table after every finished experiment.

    Args:
        arms: Parameter overrides by arm.
        seeds: Run seeds; each is one experiment an arm.
        jobs: Experiments at a time, each with its share of the cores.
        name: Results go to `<name>.json` and `<name>_runs.json`.

    Returns:
        Per arm the columns, each `{mean, low, high, seeds}` or None.
    """
    runs_path = RESULTS / f"{name}_runs.json"
    runs = json.loads(runs_path.read_text()) if runs_path.exists() else {}
    digest = source_digest()
    runs = {key: run for key, run in runs.items() if run["source_digest"] == digest}
    if stale := subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no", "--", "*.py", "params.yaml"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout:
        raise SystemExit(f"Commit these first, experiments start from HEAD:\n{stale}")

    wanted = {
        experiment_name(arm, seed): (arm, seed, overrides)
        for arm, overrides in arms.items()
        for seed in seeds
    }

    def gather() -> int:
        finished = experiments()
        for experiment, (arm, seed, overrides) in wanted.items():
            if experiment in finished and experiment not in runs:
                runs[experiment] = {
                    "arm": arm,
                    "seed": seed,
                    "overrides": dict(overrides),
                    "source_digest": digest,
                    "columns": collect(arm, finished[experiment]),
                }
                log.info("%s: %s", experiment, runs[experiment]["columns"])
        write_json(runs_path, runs)
        write_json(RESULTS / f"{name}.json", table(runs, list(arms)))
        return sum(experiment in runs for experiment in wanted)

    gather()
    missing = [wanted[experiment] for experiment in wanted if experiment not in runs]
    for arm, seed, overrides in missing:
        queue(arm, seed, overrides)
    if missing:
        started, before = time.monotonic(), len(wanted) - len(missing)
        threads = max(1, (os.cpu_count() or 1) // jobs)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        worker = subprocess.Popen(
            ["dvc", "exp", "run", "--quiet", "--run-all", "--jobs", str(jobs)], env=environment
        )
        while worker.poll() is None:
            time.sleep(POLL_SECONDS)
            done = gather()
            elapsed = time.monotonic() - started
            eta = elapsed / (done - before) * (len(wanted) - done) if done > before else None
            log.info(
                "%d/%d experiments  %.0f min%s",
                done,
                len(wanted),
                elapsed / 60,
                f"  ETA {eta / 60:.0f} min" if eta is not None else "",
            )
    if gather() < len(wanted):
        absent = sorted(set(wanted) - set(runs))
        raise SystemExit(f"{len(absent)} experiments failed: {absent}; see `dvc queue logs NAME`")
    return table(runs, list(arms))


def main() -> None:
    """Runs the ablation and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--jobs", type=int, default=2, help="experiments at a time")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    arms = run_ablation({arm: ARMS[arm] for arm in args.arms}, args.seeds, args.jobs)
    print(as_markdown(arms))


if __name__ == "__main__":
    main()
