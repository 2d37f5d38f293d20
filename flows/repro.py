"""The main job: brings every stage up to date with DVC and shows what came out.

    python -m flows.repro
    python -m flows.repro --recipe nico --data /path --generator /path
    python -m flows.repro --data fashion-contexts

Starts one Prefect server for all stages, runs `dvc repro`, and prints the accuracies of the
baseline, the control and the final classifier with the path of the report. Does nothing, and says
so, when everything is up to date.

With a recipe, params.yaml becomes that recipe first, which is said; the same command resumes.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil

from fgds_core.errors import InputError
from flows.cli.heartbeat import never_silent
from flows.cli.inputs import CHECKED, check_inputs
from flows.cli.keys import HelpFormatter
from flows.cli.params import read_params
from flows.cli.recipes import use_recipe
from flows.cli.server import prefect_server
from flows.cli.tables import TABLE_LATER, show_results
from tasks.store.bucket import check_store
from tasks.watch.timing import TIMING, process_s, record_job
from tasks.workspace import FIRST


def main(given: Sequence[str] | None = None) -> int:
    """Runs the job; returns its exit status."""
    args = arguments(given)
    try:
        if any(value is not None for value in vars(args).values()):
            print(use_recipe(args.recipe, args.data, args.generator), flush=True)
        params = read_params()
        with peak_memory() as peak, prefect_server(wait=False):
            with never_silent("repro"):  # the stages speak for themselves
                from tasks.identity.dvc import (  # imported while the server starts
                    is_up_to_date,
                    reproduce,
                )
                from tasks.identity.links import watch

                watch(params["data"].root)
                up_to_date = is_up_to_date()
            if up_to_date:
                print("Everything is up to date: nothing to do.\n")
                show_results(FIRST)
                return 0
            with never_silent("repro"):
                check_store(params["store"])
                check_inputs(params)
            os.environ[CHECKED] = "1"  # for the stages, which DVC starts
            os.environ[TABLE_LATER] = "1"
            status = reproduce()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped. What is finished is kept; the same command resumes.", file=sys.stderr)
        return 128 + signal.SIGINT
    if status:
        return status
    record_job(process_s(), peak.rss_gb)
    show_results(FIRST)
    print(f"Took {process_s() / 60:.1f} min; the stages' times are in {TIMING}.")
    return 0


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line names; `make repro` gives it RECIPE, DATA and GENERATOR."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.repro",
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--recipe", metavar="NAME", help="a file of recipes/, without its ending")
    parser.add_argument("--data", metavar="PATH", help="its raw images, or embedded data")
    parser.add_argument("--generator", metavar="PATH", help="what draws: a folder or a hub id")
    return parser.parse_args(given)


class Peak:
    """Most memory held at once, in GB."""

    rss_gb = 0.0


@contextmanager
def peak_memory(every_s: float = 1.0) -> Iterator[Peak]:
    """Watches the memory of this process and all that it starts."""
    peak, stop = Peak(), threading.Event()

    def watch() -> None:
        here = psutil.Process()
        while not stop.wait(every_s):
            total = 0
            for process in [here, *here.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak.rss_gb = max(peak.rss_gb, total / 1e9)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


if __name__ == "__main__":
    sys.exit(main())
