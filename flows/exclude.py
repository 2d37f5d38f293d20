"""Leaves images of the synthetic set out of training, or takes them back, and trains again.

    python -m flows.exclude --class shirt --index 17 40 --reason "shows a dress"
    python -m flows.exclude --list
    python -m flows.exclude --undo --class shirt --index 17

Writes them to `synthesize.exclude` in params.yaml, where they can be edited as well, and then runs
`dvc repro`: no image is drawn again, the stages assess, retrain and report see the others. With
--later it writes alone. An entry means the images that are there now: when they are drawn
otherwise some day, it is passed over, and synthesize says so.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fgds_core.errors import InputError
from fgds_core.files import write_text
from flows import repro
from flows.cli.options import add_images, command
from flows.cli.params import PARAMS, read_params
from flows.cli.stage import exit_status
from flows.cli.tables import MAX_ROWS, table
from flows.cli.written import with_entries
from tasks.workspace import FIRST

DIGITS = 12
"""Of a part's fingerprint, as entries have it."""

Entry = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Changes the list and runs what follows from it; returns the exit status."""
    options = parser()
    args = options.parse_args(arguments)
    if args.list:
        return exit_status(show_excluded, "exclude")
    if not args.undo and (args.class_name is None or args.index is None):
        options.error("--class and --index name the images; --list shows those left out")
    if args.index is not None and args.class_name is None:
        options.error("--index needs --class")
    changed: list[bool] = []
    status = exit_status(lambda: changed.append(change(args)), "exclude")
    if status or args.later or not any(changed):
        return status
    return repro.main([])


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = command("exclude", __doc__)
    add_images(parser, required=False)
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the list")
    parser.add_argument("--list", action="store_true", help="show what is left out, run nothing")
    parser.add_argument(
        "--undo",
        action="store_true",
        help="take these images back; without --index all of the class, without --class all",
    )
    parser.add_argument(
        "--later", action="store_true", help="write params.yaml alone; `dvc repro` does the rest"
    )
    return parser


def change(args: argparse.Namespace) -> bool:
    """Writes another list into params.yaml.

    Returns:
        Whether it is another one.

    Raises:
        InputError: There is no such image in the set, or on the list.
    """
    before = [
        entry.model_dump(mode="json", exclude_defaults=True)
        for entry in read_params()["synthesize"].exclude
    ]
    if args.undo:
        after = without(before, args.class_name, args.index)
        if after == before:
            raise InputError(
                "--undo: none of these images is left out by synthesize.exclude; see --list"
            )
    else:
        after = with_images(before, args.class_name, args.index, args.reason)
    if after == before:
        print("These images are left out already.")
        return False
    text = with_entries(PARAMS.read_text(encoding="utf-8"), "synthesize", "exclude", after)
    with TemporaryDirectory(prefix="fgds-exclude-") as folder:
        written = Path(folder) / PARAMS.name
        written.write_text(text, encoding="utf-8")
        read_params(written)  # as every stage will read it
    write_text(PARAMS, text)
    number = sum(len(entry["indices"]) for entry in after)
    print(f"{PARAMS}: synthesize.exclude now names {number:,} images.", flush=True)
    return True


def with_images(
    entries: Sequence[Entry], name: str, indices: Sequence[int], reason: str
) -> list[Entry]:
    """A list with some images of the set added.

    Args:
        entries: The list.
        name: Their class.
        indices: Their places within it.
        reason: Why they are left out.

    Raises:
        InputError: There is no such image.
    """
    from fgds_core.synthesis.shards import read_index
    from tasks.redraw import find

    folder = FIRST.synthetic
    index = read_index(folder)
    after = [dict(entry) for entry in entries]
    for place in sorted(set(indices)):
        drawn_as = find(index, name, place, folder).fingerprint[:DIGITS]
        mine = [entry for entry in after if entry["class_name"] == name]
        same = [e for e in mine if drawn_as.startswith(e.get("drawn_as", "")[:DIGITS])]
        if any(place in entry["indices"] for entry in same):
            continue
        new: Entry = {"class_name": name, "indices": [place]}
        new |= {"reason": reason} if reason else {}
        new["drawn_as"] = drawn_as
        for entry in same:
            if {**entry, "indices": [place]} == new:
                entry["indices"] = sorted([*entry["indices"], place])
                break
        else:
            after.append(new)
    return after


def without(
    entries: Sequence[Entry], name: str | None, indices: Sequence[int] | None
) -> list[Entry]:
    """A list without some images.

    Args:
        entries: The list.
        name: Their class; None is every class.
        indices: Their places within it; None is all.
    """
    after = []
    for entry in entries:
        if name not in (None, entry["class_name"]):
            after.append(dict(entry))
        elif indices is not None:
            left = [place for place in entry["indices"] if place not in indices]
            after += [{**entry, "indices": left}] if left else []
    return after


def show_excluded() -> None:
    """Prints what the parameters and the checks leave out, and whether the set knows it yet."""
    from fgds_core.synthesis.shards import left_out_of, read_index

    entries = read_params()["synthesize"].exclude
    rows: list[tuple[str, ...]] = [
        (entry.class_name, ", ".join(map(str, entry.indices)), "params.yaml", entry.reason)
        for entry in entries
    ]
    known: Mapping[tuple[str, int], str] = {}
    if FIRST.synthetic_index.is_file():
        index = read_index(FIRST.synthetic)
        away = left_out_of(FIRST.synthetic, index)
        names = index.class_names
        known = {(names[each.label], each.index): each.by for each in away}
        rows += [
            (names[each.label], str(each.index), each.by, each.reason)
            for each in away
            if each.by != "person"
        ]
    if not rows:
        print("No image is left out.")
        return
    print(table(("class", "index", "by", "reason"), rows[:MAX_ROWS]))
    if rest := rows[MAX_ROWS:]:
        print(f"and {len(rest):,} more lines")
    named = {(entry.class_name, place) for entry in entries for place in entry.indices}
    by_person = {place for place, by in known.items() if by == "person"}
    if named != by_person:
        print(
            "\nThe set does not know all of it: bring it up to date with `dvc repro`. Images that"
            " were drawn otherwise since are passed over."
        )


if __name__ == "__main__":
    sys.exit(main())
