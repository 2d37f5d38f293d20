"""Keeps the code dependencies in `dvc.yaml` equal to what the flows import.

python -m flows.closure           # says which stages differ; exit status 1 if any does
python -m flows.closure --write   # puts them right
"""

import argparse
import sys

from tasks.identity.code import PACKAGES, closure
from tasks.identity.dvc_yaml import DVC_YAML, read_pipeline, write_pipeline


def is_code(dependency: str) -> bool:
    """Whether a dependency is a file of our packages rather than data."""
    return dependency.split("/")[0] in PACKAGES


def main() -> int:
    """Compares or writes the dependencies; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.closure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--write", action="store_true", help="change dvc.yaml")
    args = parser.parse_args()
    pipeline = read_pipeline()
    differ = []
    for name, stage in pipeline["stages"].items():
        wanted = list(closure(f"flows.{name}"))
        if [dep for dep in stage["deps"] if is_code(dep)] != wanted:
            differ.append(name)
            data = [dep for dep in stage["deps"] if not is_code(dep)]
            stage["deps"][:] = [*wanted, *data]
    if args.write:
        write_pipeline(pipeline)
        return 0
    if differ:
        print(f"{DVC_YAML}: other code than imported in {', '.join(differ)}; add --write")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
