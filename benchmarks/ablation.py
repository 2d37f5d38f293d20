"""The table of arms: does synthesis help, does dual conditioning, does feedback?

    python -m benchmarks.ablation             # 8 arms x 5 seeds, hours on 2 cores; resumes
    python -m benchmarks.ablation --arms dual --seeds 0 1
    python -m benchmarks.ablation --show      # the tables of the runs at hand, nothing is run

Every arm is a set of parameter overrides and every (arm, seed) one DVC experiment, so `dvc exp
show` lists them all. The data split is fixed; the seed moves the baseline, the synthetic images
and the retraining. The table is `benchmarks/results/ablation.json`: per arm the columns, each
`{mean, low, high, seeds}` with the 95 % interval over seeds.
"""

import argparse
import json
import logging
import sys

from benchmarks.experiments import RESULTS, Arm, as_markdown, paired, run_experiments

UNGUIDED = {"synthesize.feedback": "none"}

# What an arm does not name is as in params.yaml. Each criterion has its own scale, chosen on
# validation images by benchmarks.feedback_study (docs/results.md).
ARMS = {
    "baseline": Arm({}, stages=("train_baseline",)),
    "baseline, class-balanced": Arm(
        {"train_baseline.sampling": "class_balanced"}, stages=("train_baseline",)
    ),
    "text only": Arm({**UNGUIDED, "synthesize.conditioning": "text"}),
    "dual": Arm({**UNGUIDED, "synthesize.embedding_dropout": 0.0}),
    "dual + dropout": Arm(UNGUIDED),
    **{
        f"feedback: {feedback}": Arm(
            {"synthesize.feedback": feedback, "synthesize.feedback_scale": scale}
        )
        for feedback, scale in (("loss", 0.01), ("hardness", 0.01), ("entropy", 0.01))
    },
}


COLUMNS = {
    **{bin_name: ("test", (bin_name,)) for bin_name in ("overall", "many", "medium", "few")},
    **{score: ("synthetic", (score, "value")) for score in ("fid", "density", "coverage")},
    "label_agreement": ("synthetic", ("label_agreement", "value")),
}


PAIRS = [
    ("dual", "baseline, class-balanced"),
    ("dual + dropout", "dual"),
    *((f"feedback: {feedback}", "dual + dropout") for feedback in ("loss", "hardness", "entropy")),
    ("feedback: loss", "text only"),
    ("dual + dropout", "text only"),
]
"""Arms whose difference within a seed is shown, the second taken from the first."""


def show() -> None:
    """Prints the table and the differences from the results at hand."""
    table, runs = (
        json.loads((RESULTS / f"{name}.json").read_text())
        for name in ("ablation", "ablation_runs")
    )
    print(as_markdown({arm: table[arm] for arm in ARMS if arm in table}, COLUMNS))
    bins = ("few", "overall", "many", "medium")
    print("\n| difference, points | " + " | ".join(bins) + " |\n|---|---|---|---|---|")
    for pair in PAIRS:
        found = [paired(runs, *pair, column) for column in bins]
        cells = [
            f"{100 * each['mean']:+.1f} ± {100 * (each['high'] - each['mean']):.1f}"
            for each in found
            if each is not None
        ]
        if cells:
            print(f"| {' - '.join(pair)} | {' | '.join(cells)} |")


def main() -> None:
    """Runs the ablation and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--jobs", type=int, default=2, help="experiments at a time")
    parser.add_argument("--show", action="store_true", help="print the tables, run nothing")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if not args.show:
        arms = {arm: ARMS[arm] for arm in args.arms}
        run_experiments(arms, args.seeds, COLUMNS, args.jobs, "ablation")
    show()


if __name__ == "__main__":
    main()
