"""Says what the stage synthesize will draw and what that costs, before it is spent.

    python -m flows.plan
    python -m flows.plan --max-device-hours 100 && dvc repro

Counts images and parts by shot bin and class, and what of them is finished. Where there is a
baseline, it draws a batch of the run's own images to measure the rest. Writes nothing to the
workspace and needs no Prefect server. About 20 s for the embedded default on 2 CPU cores.
"""

import argparse
import math
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgds_core.errors import InputError
from flows.cli.keys import HelpFormatter
from flows.cli.params import PARAMS, read_params
from flows.cli.stage import exit_status
from flows.cli.tables import MAX_ROWS, table
from tasks.layout import BASELINE, SYNTHETIC
from tasks.watch.progress import clock

if TYPE_CHECKING:
    from tasks.plan import Cost, Probe, Share, Workload

NEEDS_BASELINE = f"needs {BASELINE}; make it with `dvc repro train_baseline`"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the plan; returns the exit status, 2 if it costs more than allowed."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.plan",
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--params", type=Path, default=PARAMS, metavar="FILE", help="parameters (params.yaml)"
    )
    parser.add_argument(
        "--probe",
        type=_count,
        metavar="N",
        help="draw at most N images to measure the cost; 0 is none (compute.batch_size)",
    )
    parser.add_argument(
        "--max-device-hours",
        type=_hours,
        metavar="H",
        help="exit with status 2 if the run takes more (compute.max_device_hours)",
    )
    args = parser.parse_args(arguments)
    return exit_status(
        lambda: show_plan(read_params(args.params), args.probe, args.max_device_hours)
    )


def show_plan(params: dict[str, Any], num_images: int | None, limit: float | None) -> None:
    """Prints the plan.

    Args:
        params: All sections.
        num_images: Images to probe at most; 0 is no probe, None a batch.
        limit: In device-hours; None is that of the parameters.

    Raises:
        InputError: There are no prepared data; the run costs more than the limit, or cannot be
            measured although a limit is given.
    """
    from fgds_core.synthesis.relabel import relabelled_parts
    from tasks.identity.drawing import input_digests, made_by, part_fingerprint, part_fingerprints
    from tasks.plan import (
        check_device_hours,
        cost,
        longest,
        planned_workers,
        prepared_meta,
        probe,
        undrawn,
        workload,
    )
    from tasks.synthesize import plan, sources_of

    seed, generator, config, compute, store = (
        params[name] for name in ("seed", "generator", "synthesize", "compute", "store")
    )
    meta = prepared_meta()
    has_baseline = Path(BASELINE).exists()
    if limit is not None and (num_images == 0 or not has_baseline):
        reason = "needs a probe of 1 image or more" if has_baseline else NEEDS_BASELINE
        raise InputError(f"--max-device-hours {reason}")
    inputs = input_digests(generator, config) if has_baseline else {}
    origin = made_by(generator, config, seed, inputs)
    planned = plan(config)
    fingerprints = part_fingerprints(origin, planned)
    left = set(planned.parts)
    if has_baseline:
        moved = relabelled_parts(
            Path(SYNTHETIC), planned.class_names, partial(part_fingerprint, origin)
        )
        kept = {(path, old.num_rows) for old, _, path in moved}
        left = {
            part
            for part in undrawn(planned.parts, fingerprints, store)
            if (part.path, part.num_images) not in kept
        }
    load = workload(meta.counts["train"], meta.class_names, config, lambda part: part not in left)
    show_workload(load)
    if not load.unfinished:
        print("Everything is drawn.")
    elif not has_baseline:
        print(f"Cost: measuring it, and finding finished parts, {NEEDS_BASELINE}.")
    elif num_images != 0:
        part, workers = longest(load.unfinished), planned_workers(compute)
        measured = probe(
            part,
            generator,
            config,
            seed,
            fingerprints[planned.parts.index(part)],
            sources_of(inputs, origin),
            compute,
            num_images,
        )
        estimate = cost(load.unfinished, measured, workers)
        show_cost(load, measured, estimate, workers)
        limit = compute.max_device_hours if limit is None else limit
        if limit is not None:
            check_device_hours(estimate.device_hours, limit, load.num_images)


def show_workload(load: "Workload") -> None:
    """Prints images and parts by bin and class, and the disk they take."""
    from tasks.plan import total
    from tasks.synthesize import parquet_bytes

    everything = total("all", load.bins)
    print(
        table(
            ("bin", "classes", *COLUMNS),
            [(each.name, each.num_classes, *_columns(each)) for each in (*load.bins, everything)],
        ),
        end="\n\n",
    )
    classes = sorted(load.classes, key=lambda share: -share.wanted)
    print(
        table(
            ("class", "bin", *COLUMNS),
            [(each.name, each.bin, *_columns(each)) for each in classes[:MAX_ROWS]],
        )
    )
    if rest := classes[MAX_ROWS:]:
        print(f"and {len(rest):,} more classes that want {total('', rest).wanted:,} images")
    size = _bytes(parquet_bytes(everything.wanted, everything.real))
    print(
        f"\nDisk: about {size} of Parquet and as much for the copy in DVC's cache, finished parts"
        f" included; {_bytes(shutil.disk_usage('data').free)} are free"
    )


def show_cost(load: "Workload", measured: "Probe", estimate: "Cost", workers: int) -> None:
    """Prints what was measured and what follows for the run."""
    print(
        f"Probe: {measured.seconds_per_image:.3g} s an image, by {measured.num_images} images of"
        f" class {measured.class_name!r} on {measured.device}; start-up"
        f" {measured.startup_s:.1f} s a worker\n"
        f"Cost: {estimate.device_hours:.3g} device-hours for {load.num_images:,} images\n"
        f"Wall time: {clock(estimate.wall_s)} with {workers}"
        f" worker{'s, if each has a device' if workers > 1 else ''}; the longest part takes"
        f" {clock(estimate.longest_part_s)}"
    )


COLUMNS = ("real", "wanted", "finished", "to draw", "parts")


def _columns(share: "Share") -> tuple[int, ...]:
    left = share.wanted - share.finished
    return (share.real, share.wanted, share.finished, left, share.num_parts)


def _bytes(number: float) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}; must be a whole number from 0")
    return int(text)


def _hours(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}; must be a number above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
