"""Runs what is missing of the comparison and writes its tables."""

import argparse
import json
import logging
import sys
from pathlib import Path

from benchmarks.controls import __doc__ as about
from benchmarks.controls.arms import arms_of
from benchmarks.controls.pieces import Piece
from benchmarks.controls.place import Place
from benchmarks.controls.runs import measure_missing, read_runs, run_missing
from benchmarks.controls.table import as_markdown, pairs_as_markdown, summary
from benchmarks.documents import show
from benchmarks.experiments import RESULTS, write_json


def main() -> None:
    """Runs what is missing and writes the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.controls",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", help="name of the data; without, those of params.yaml")
    parser.add_argument("--arms", nargs="+", help="names of arms; without, all of them")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--test", action="store_true", help="final arms on test images, too")
    parser.add_argument("--unmeasured", action="store_true", help="train, measure no set")
    parser.add_argument("--jobs", type=int, default=2, help="processes, each of one thread")
    parser.add_argument("--runs", type=Path, help="another folder for what is made")
    parser.add_argument("--out", type=Path, default=RESULTS, help="another folder for the results")
    parser.add_argument("--show", action="store_true", help="print the tables, run nothing")
    args = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        stream=sys.stderr,
        force=True,  # Prefect has put a handler of its own there
    )
    logging.getLogger("fgds_core").setLevel(logging.WARNING)
    place = Place.of(args.data, args.runs)
    if args.data is None:
        place.prepared  # noqa: B018, before more than one process wants them
    arms = arms_of(place)
    if strangers := set(args.arms or ()) - set(arms):
        parser.error(f"no arms: {', '.join(sorted(strangers))}; there are: {', '.join(arms)}")
    path = args.out / f"controls-{place.name}_runs.json"
    if args.show:
        runs = read_runs(path)
    else:
        splits = ("val", "test") if args.test else ("val",)
        pieces = [
            Piece(name, seed, split)
            for split in splits
            for seed in args.seeds
            for name in args.arms or arms
            if split == "val" or arms[name].final
        ]
        runs = run_missing(place, pieces, path, args.jobs)
        if not args.unmeasured:
            runs = measure_missing(place, pieces, path, args.jobs)
    tables = {split: summary(runs, list(arms), split) for split in ("test", "val")}
    results = {**tables["test"], "validation": tables["val"]}
    write_json(args.out / f"controls-{place.name}.json", results)
    for split, table in tables.items():
        text = as_markdown(table)
        print(f"{place.name}, {split} images\n\n{text}")
        if args.out == RESULTS:
            show(f"controls-{place.name}, {split}", text)
            show(f"controls-{place.name}, {split}, pairs", pairs_as_markdown(table))
    print(json.dumps({"tries on validation": tables["val"]["tries"]}))


if __name__ == "__main__":
    main()
