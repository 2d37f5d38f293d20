"""Reads the runs of the comparison; writes JSON, table and picture."""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.controls.arms import GROUPED, LONG_TAILED
from benchmarks.controls.runs import read_runs
from benchmarks.documents import show
from benchmarks.experiments import RESULTS, write_json
from benchmarks.usefulness import __doc__ as about
from benchmarks.usefulness.audits import as_markdown as audits_as_markdown
from benchmarks.usefulness.audits import audits
from benchmarks.usefulness.gains import Row, rows_of, usefulness
from benchmarks.usefulness.plot import draw
from benchmarks.usefulness.table import as_markdown

DATA = {"fashion-lt": LONG_TAILED, "fashion-contexts": GROUPED}
"""The arms of each data set."""

RESULT = "usefulness.json"


def main() -> None:
    """Writes JSON, table and picture."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.usefulness",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="another folder of results")
    args = parser.parse_args()
    rows: list[Row] = []
    on_test: list[Row] = []
    audited: dict[str, Any] = {}
    for data, arms in DATA.items():
        runs = read_runs(args.out / f"controls-{data}_runs.json")
        rows += rows_of(data, runs, arms)
        on_test += rows_of(data, runs, arms, "test")
        audited[data] = audits(runs)
    if not rows:
        raise SystemExit(f"no set in {args.out} has been measured; run `make controls` first")
    found = {**usefulness(rows, on_test), "audits": audited}
    write_json(args.out / RESULT, found)
    found = json.loads((args.out / RESULT).read_text())  # in the order of the file
    text = as_markdown(found)
    print(text)
    if args.out == RESULTS:
        show(RESULT, text)
        for data, of_data in found["audits"].items():
            show(f"audits, {data}", audits_as_markdown(of_data))
        draw(found)


if __name__ == "__main__":
    main()
