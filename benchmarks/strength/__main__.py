"""Runs what is missing of the study, and shows it."""

import argparse
import json
import logging
import sys
from pathlib import Path

from benchmarks.experiments import RESULTS, write_json
from benchmarks.strength import __doc__ as about
from benchmarks.strength.pieces import Study
from benchmarks.strength.study import PARTS, run_all


def main() -> None:
    """Reads the command line and makes pieces until all are there or the time is spent."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.strength",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of processor time")
    parser.add_argument("--show", action="store_true", help="make nothing, sum up what is there")
    parser.add_argument("--out", type=Path, default=RESULTS, help="another folder for the results")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, force=True)
    seconds = float("-inf") if args.show else 60 * args.minutes
    study = Study(args.out / "strength_runs.json", seconds)
    path = args.out / "strength.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    found |= run_all(study, args.parts)
    write_json(path, found)
    if "imbalance" in found:
        from benchmarks.strength.plot import write_picture

        print(write_picture(found["imbalance"]))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
