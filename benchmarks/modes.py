"""What cheap feedback costs in quality, and what the two levers on feedback give.

    python -m benchmarks.modes               # arms x 3 seeds; resumes; writes results/modes.json
    python -m benchmarks.modes --table reuse # gradients that push twice; writes results/reuse.json

Every arm draws the embedded default's synthetic set with another way to guide, at equal scale, and
retrains. All figures come from validation images: these arms are choices, and choices are not
made on test. `criterion` is measured on the finished images through the generator's own decoder,
whatever guided them; `unguided` is the same pipeline at a scale that moves nothing.
"""

import argparse
import logging
import sys

from benchmarks.experiments import Arm, as_markdown, run_experiments

TINY = {"generator.tiny_decoder": "assets/tiny-decoder", "synthesize.feedback_decoder": "tiny"}
NO_JACOBIAN = {"synthesize.feedback_jacobian": "false"}
REUSED = {"synthesize.feedback_refresh": 2}
ENTROPY = {"synthesize.feedback": "entropy", "synthesize.feedback_scale": 0.01}

# What an arm does not name is as in params.yaml: loss feedback, exact.
ARMS = {
    "unguided": Arm({"synthesize.feedback_scale": 1e-9}),
    "exact": Arm({}),
    "half": Arm({"synthesize.feedback_decoder": "half"}),
    "tiny": Arm(TINY),
    "tiny, no Jacobian": Arm({**TINY, **NO_JACOBIAN}),
    "exact, augmented": Arm({"synthesize.feedback_augment": "true"}),
    "entropy, unguided": Arm({**ENTROPY, "synthesize.feedback_scale": 1e-9}),
    "entropy": Arm(ENTROPY),
    "entropy, augmented": Arm({**ENTROPY, "synthesize.feedback_augment": "true"}),
    "entropy, calibrated": Arm({**ENTROPY, "synthesize.feedback_calibrated": "true"}),
}

REUSE = {
    **{name: ARMS[name] for name in ("unguided", "exact", "tiny")},
    "exact, reused": Arm(REUSED),
    "tiny, reused": Arm({**TINY, **REUSED}),
}
TABLES = {"modes": ARMS, "reuse": REUSE}

COLUMNS = {
    "criterion": ("synthetic", ("guidance", "criterion_final")),
    **{bin_name: ("validation", (bin_name,)) for bin_name in ("overall", "medium", "few")},
    **{score: ("synthetic", (score, "value")) for score in ("fid", "density", "coverage")},
    "label_agreement": ("synthetic", ("label_agreement", "value")),
}


def main() -> None:
    """Runs the arms and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", choices=list(TABLES), default="modes")
    parser.add_argument("--arms", nargs="+", help="of the table (all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="experiments at a time")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    known = TABLES[args.table]
    if unknown := set(args.arms or ()) - set(known):
        parser.error(f"no such arms: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    arms = {arm: known[arm] for arm in args.arms or known}
    print(as_markdown(run_experiments(arms, args.seeds, COLUMNS, args.jobs, args.table), COLUMNS))


if __name__ == "__main__":
    main()
