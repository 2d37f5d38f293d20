"""Control and final over several seeds: is the gain more than the luck of one training?

    python -m benchmarks.seeds --seeds 3      # seeds 0, 1, 2; resumes
    python -m benchmarks.seeds --show         # the table of the runs at hand, nothing is run

Each seed is one DVC experiment of `params.yaml` as it is, so `dvc exp show` lists them. The data
split is fixed; the seed moves the classifiers and the synthetic images. The table, with the
difference of both within a seed, is `seeds.json` among the results, in fractions.
"""

import argparse
import json
import logging
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.experiments import RESULTS, Arm, run_experiments, write_json
from fgds_core.classify.metrics import interval
from fgds_core.data.imbalance import BINS

MEASURES = ("overall", *BINS, "macro_accuracy", "worst_group", "macro_f1", "ece")

REPORT_OF = {"control": "control", "final": "test"}
"""Under what name `benchmarks.experiments` has each classifier's Metrics JSON."""

COLUMNS = {
    f"{who} {name}": (report, (name,)) for who, report in REPORT_OF.items() for name in MEASURES
}

ARM = "control and final"


def summary(runs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """For each measure `control`, `final` and `difference` over seeds, see `interval`.

    Args:
        runs: What `run_experiments` kept; a measure that some seed has no number of is left out.
    """
    found = {}
    for name in MEASURES:
        values = {
            who: [run["columns"][f"{who} {name}"] for run in runs.values()] for who in REPORT_OF
        }
        if runs and None not in (*values["control"], *values["final"]):
            pairs = zip(values["control"], values["final"], strict=True)
            values["difference"] = [final - control for control, final in pairs]
            found[name] = {who: interval(of_seed) for who, of_seed in values.items()}
    return found


def as_markdown(table: Mapping[str, Mapping[str, Any]]) -> str:
    """The table in Markdown, in percent and points."""

    def cell(value: Mapping[str, Any], sign: str = "") -> str:
        mean = f"{100 * value['mean']:{sign}.1f}"
        return (
            mean
            if value["low"] is None
            else f"{mean} ± {100 * (value['high'] - value['mean']):.1f}"
        )

    lines = [
        "| test, % | control | final | final minus control | seeds |",
        "|---|---|---|---|---|",
    ]
    for name, row in table.items():
        cells = [cell(row["control"]), cell(row["final"]), cell(row["difference"], "+")]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['final']['seeds']} |")
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--jobs", type=int, default=1, help="experiments at a time")
    parser.add_argument("--show", action="store_true", help="print the table, run nothing")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if not args.show:
        arms = {ARM: Arm({}, stages=("train_control", "retrain"))}
        run_experiments(arms, range(args.seeds), COLUMNS, args.jobs, "seeds")
    if not (kept := RESULTS / "seeds_runs.json").is_file():
        raise SystemExit(f"{kept} is not there: no seed was run")
    table = summary(json.loads(kept.read_text()))
    write_json(RESULTS / "seeds.json", table)
    print(as_markdown(table))


if __name__ == "__main__":
    main()
