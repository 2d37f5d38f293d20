"""Says what the stage synthesize will draw and what that costs, before it is spent.

    python -m flows.plan
    python -m flows.plan --max-device-hours 100 && dvc repro

Counts images and parts by shot bin and class, and what of them is finished. Draws a few images of
the classes that want most, for half a minute at most, and says whether they show these. Where the
classifier that guides is there, it draws a batch of the run's own images to measure the rest.
Writes nothing to the workspace and needs no Prefect server. About 30 s for the embedded default on
2 CPU cores; without drawing (--probe 0) a few.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fgds_core.errors import InputError
from flows.cli.adapter import drawing_recipe, show_adapter
from flows.cli.judge import show_judge
from flows.cli.numbers import positive_number, whole_number
from flows.cli.options import add_params, add_round, command
from flows.cli.params import read_params
from flows.cli.stage import exit_status
from flows.cli.tables import MAX_ROWS, table
from tasks.store.config import StoreConfig
from tasks.watch.progress import clock
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from fgds_core.synthesis.plan import Plan
    from fgds_core.synthesis.recipe import Recipe
    from tasks.cost import Ahead, Cost, Probe
    from tasks.plan import Share, Workload
    from tasks.survey import Survey
    from tasks.vetting import Foreseen


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the plan; returns the exit status, 2 if it costs more than allowed."""
    parser = command("plan", __doc__)
    add_params(parser)
    parser.add_argument(
        "--probe",
        type=_count,
        metavar="N",
        help="draw at most N images to measure the cost; 0 is none (compute.batch_size)",
    )
    parser.add_argument(
        "--max-device-hours",
        type=positive_number,
        metavar="H",
        help="exit with status 2 if the run takes more (compute.max_device_hours)",
    )
    add_round(parser)
    args = parser.parse_args(arguments)
    workspace = Workspace(args.round)
    return exit_status(
        lambda: show_plan(read_params(args.params), args.probe, args.max_device_hours, workspace),
        "plan",
    )


def show_plan(
    params: dict[str, Any], num_images: int | None, limit: float | None, workspace: Workspace
) -> None:
    """Prints the plan.

    Args:
        params: All sections.
        num_images: Images to probe at most; 0 is no probe, None a batch.
        limit: In device-hours; None is that of the parameters.
        workspace: Where the set and what it is drawn from are.

    Raises:
        InputError: There are no prepared data; the run costs more than the limit, or cannot be
            measured although a limit is given.
    """
    from fgds_core.synthesis.recipe import Recipe as Plain
    from fgds_core.synthesis.rounds import certain_rounds
    from tasks.cost import (
        ahead_of,
        check_device_hours,
        cost,
        planned_workers,
        probe,
        to_probe,
    )
    from tasks.identity.drawing import guides
    from tasks.plan import read_plan, workload
    from tasks.survey import survey
    from tasks.twins import twins_plan
    from tasks.vetting import checks_of, foresee

    compute = params["compute"]
    recipe = drawing_recipe(params, workspace)
    plan = read_plan(recipe.synthesize, workspace)
    show_judge(params, workspace)
    adapting_s = show_adapter(params, workspace, measure=num_images != 0)
    print()
    look = num_images != 0 and not adapting_s
    missing = [each for each in guides(recipe.synthesize, workspace) if not each.exists()]
    needs = " and ".join(f"{each}; make it with `{workspace.makes(each)}`" for each in missing)
    if limit is not None and (num_images == 0 or missing):
        reason = needs or "a probe of 1 image or more"
        raise InputError(f"--max-device-hours needs {reason}")
    if missing:
        certain = certain_rounds(plan, recipe.synthesize)
        parts = [part for each in certain for part in each.parts]
        later = sum(plan.wanted) - sum(part.num_images for part in parts)
        show_workload(workload(certain, parts, later), workspace)
        show_check(recipe, plan, params, workspace, look=look)
        asked = checks_of(recipe.synthesize, params["judge"])
        ways = recipe.synthesize.copies_by
        judge = params["judge"]
        show_redraws(foresee(asked, sum(plan.wanted), judge, workspace, ways=ways))
        num_twins = sum(twins_plan(certain[0], recipe.synthesize).wanted)
        print(f"Twins: {num_twins:,} images without feedback, for the page.")
        print(f"Cost: measuring it, and finding finished parts, needs {needs}.")
        return
    sections = params["retrain"], params["store"]
    found = survey(recipe, *sections, workspace, judge=params["judge"], verify=True)
    load = workload(found.all_plans, found.left, found.unplanned)
    show_workload(load, workspace)
    show_check(recipe, plan, params, workspace, look=look)
    show_redraws(found.foreseen)
    num_twins = show_twins(recipe, found, params["store"], workspace)
    if not load.num_images:
        print("Everything is drawn.")
    elif num_images != 0:
        each, part = to_probe(found)
        workers = planned_workers(compute)
        fingerprint = each.part_fingerprint(part.label, plan.class_names)
        sources = each.sources()
        if adapting_s:  # what it will have learnt changes no image's cost
            plain = Plain(recipe.generator, recipe.synthesize, recipe.seed)
            sources = replace(sources, recipe=plain)
        measured = probe(part, fingerprint, sources, compute, each.workspace, num_images)
        ahead = ahead_of(found, workspace)
        ahead = replace(ahead, num_images=ahead.num_images + num_twins)  # which cost less
        estimate = cost(load.unfinished, measured, workers, ahead)
        show_cost(load, measured, estimate, workers, ahead)
        if found.foreseen is not None:
            most = found.foreseen.at_most * measured.seconds_per_image / 3600
            print(f"Redraws: at most {most:.3g} further device-hours, if every image fails")
        limit = compute.max_device_hours if limit is None else limit
        if limit is not None:
            hours = estimate.device_hours + adapting_s / 3600
            check_device_hours(hours, limit, load.num_images)


def show_check(
    recipe: "Recipe", whole: "Plan", params: dict[str, Any], workspace: Workspace, *, look: bool
) -> None:
    """Prints what the generator check says, or what it will draw and a glance at that.

    Args:
        recipe: How the set is drawn.
        whole: The set.
        params: All sections.
        workspace: That of the set.
        look: Whether images of some classes may be drawn for it.
    """
    from fgds_core.ability.record import findings
    from tasks.ability import ability_of, check_inputs, check_plan, last_check, survey_check
    from tasks.glance import glance

    plan = check_plan(whole, recipe.synthesize.check_images)
    if all(each.exists() for each in workspace.guides()):
        found = survey_check(recipe, plan, params["store"], workspace)
        asked = ability_of(recipe, found, check_inputs(found, workspace))
        last = last_check(asked, workspace)
        if last is not None:
            for line in findings(last):
                print(f"Check: {line}")
            return
    print(
        f"Check: {sum(plan.wanted):,} images without feedback come first, to see whether the"
        " generator can draw the classes"
    )
    if not look or not plan.parts:
        return
    seen = glance(recipe, whole, params["compute"], workspace)
    for line in findings(seen.ability):
        print(f"Check, at a glance: {line}")
    if seen.num_left:
        print(f"Check: {seen.num_left:,} more classes are looked at by the run alone")


def show_redraws(foreseen: "Foreseen | None") -> None:
    """Prints how many images checks may have drawn again."""
    if foreseen is None:
        return
    again = "how many, nobody knows before a set is measured"
    if foreseen.expected is not None:
        again = f"about {foreseen.expected:,} are expected, as {foreseen.share:.2%} failed so far"
    times = "once" if foreseen.times == 1 else f"{foreseen.times} times"
    print(
        f"Redraws: images that fail a check are drawn again, at most {times}"
        f" {foreseen.num_images:,} images; {again}"
    )


def show_twins(recipe: "Recipe", found: "Survey", store: StoreConfig, workspace: Workspace) -> int:
    """Prints how many images are drawn without feedback too; returns how many are left."""
    from tasks.twins import survey_twins

    left = sum(
        part.num_images for part in survey_twins(recipe, found.rounds[0], store, workspace).left
    )
    if left:
        print(f"Twins: {left:,} images without feedback, for the page")
    return left


def show_workload(load: "Workload", workspace: Workspace) -> None:
    """Prints images and parts by bin and class, and the disk they take."""
    from tasks.plan import total
    from tasks.space import free_bytes, parquet_bytes

    known = total("all", load.bins)
    everything = replace(known, wanted=known.wanted + load.unplanned)
    rows: list[tuple[str | int, ...]] = [
        (each.name, each.num_classes, *_columns(each)) for each in load.bins
    ]
    if load.unplanned:
        later = load.unplanned
        rows.append(("(later rounds)", known.num_classes, known.real, later, 0, later, 0))
    rows.append((everything.name, everything.num_classes, *_columns(everything)))
    print(table(("bin", "classes", *COLUMNS), rows), end="\n\n")
    classes = sorted(load.classes, key=lambda share: -share.wanted)
    print(
        table(
            ("class", "bin", *COLUMNS),
            [(each.name, each.bin, *_columns(each)) for each in classes[:MAX_ROWS]],
        )
    )
    if rest := classes[MAX_ROWS:]:
        print(f"and {len(rest):,} more classes that want {total('', rest).wanted:,} images")
    size = _bytes(parquet_bytes(everything.wanted, everything.real, workspace))
    print(
        f"\nDisk: about {size} of Parquet and as much for the copy in DVC's cache, finished parts"
        f" included; {_bytes(free_bytes())} are free"
    )


def show_cost(
    load: "Workload", measured: "Probe", estimate: "Cost", workers: int, ahead: "Ahead"
) -> None:
    """Prints what was measured and what follows for the run."""
    number = sum(part.num_images for part in load.unfinished) + ahead.num_images
    if ahead.num_trainings:
        one = ahead.training_s
        each = "whose time nobody knows" if one is None else f"of about {clock(one)}"
        print(f"Trainings between rounds: {ahead.num_trainings}, {each}")
    print(
        f"Probe: {measured.seconds_per_image:.3g} s an image, by {measured.num_images} images of"
        f" class {measured.class_name!r} on {measured.device}; start-up"
        f" {measured.startup_s:.1f} s a worker\n"
        f"Cost: {estimate.device_hours:.3g} device-hours for {number:,} images\n"
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
    return whole_number(text, 0)


if __name__ == "__main__":
    sys.exit(main())
