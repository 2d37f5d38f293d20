"""What a look at raw data has shown, in plain words of 80 columns."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from scipy.stats import binomtest

from fgds_core.data.imbalance import BINS, FEW_BELOW, MANY_ABOVE, shot_bins
from fgds_core.data.look import Look, Repeats
from fgds_core.data.recognise.found import Found
from fgds_core.data.sources import Source
from fgds_core.files import brief, shown
from flows.cli.tables import cut, table

WIDTH = 80

_ROWS = 20
"""Classes that are told one by one."""

_TINY = 20
"""Held-out images of a class below which an accuracy of it says little."""

_NAMES = {"train": "training", "val": "validation", "test": "test"}


def told(found: Found, source: Source, seen: Look) -> str:
    """All that is worth knowing before anything is made of the data."""
    parts = (
        _kind(found, source),
        _classes(seen),
        _groups(seen),
        _tiny(seen),
        _repeats(seen, source.published),
        _pictures(seen),
        _mirrored(seen),
    )
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part)))


def filled(text: str, indent: str = "") -> str:
    """A paragraph of 80 columns; further lines are indented."""
    return textwrap.fill(
        text,
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def named(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(brief(name, 40) for name in names[:most]) + more


def _kind(found: Found, source: Source) -> Iterator[str]:
    yield filled(f"Found: {found.why}. It is read with data.kind {found.data.kind}.")
    for line in (*found.choices, *source.notes, source.left_out):
        if line:
            yield filled(f"- {line}", "  ")


def _classes(seen: Look) -> Iterator[str]:
    numbers = {split: sum(counts) for split, counts in seen.counts.items()}
    bins = Counter(shot_bins(seen.counts["train"]))
    sizes = ", ".join(f"{bins[name]:,} {name}" for name in BINS if bins[name])
    yield filled(
        f"{len(seen.class_names):,} classes; {numbers['train']:,} training, {numbers['val']:,} "
        f"validation and {numbers['test']:,} test images. By training images: {sizes} "
        f"(many: above {MANY_ABOVE}, few: below {FEW_BELOW})."
    )
    train = seen.counts["train"]
    order = sorted(range(len(train)), key=lambda k: -train[k])
    rows = order if len(order) <= _ROWS else [*order[:5], *order[5 - _ROWS :]]
    shots = shot_bins(train)
    yield table(
        ("class", "training", "validation", "test", "bin"),
        [
            (
                cut(brief(seen.class_names[k]), 36),
                train[k],
                seen.counts["val"][k],
                seen.counts["test"][k],
                shots[k],
            )
            for k in rows
        ],
    )
    if len(rows) < len(order):
        yield f"(the 5 largest and the {_ROWS - 5} smallest of {len(order):,} classes)"
    if empty := [seen.class_names[k] for k in order if not train[k]]:
        yield filled(
            f"Without training images: {named(empty)}. They are drawn from text alone, and only "
            "synthetic images teach them; so all classes are (synthesize.conditioning: text)."
        )
    numbered = [name for name in seen.class_names if name.isdecimal() or _is_wordnet(name)]
    if numbered:
        yield filled(
            f"Classes are called {named(numbered)}: prompts say these names, and no text "
            "encoder knows them. Give others (data.class_names, or the names of their folders)."
        )


def _is_wordnet(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdecimal()


def _groups(seen: Look) -> Iterator[str]:
    if not seen.groups:
        return
    cells = {cell for each in seen.cells.values() for cell in each}
    yield filled(
        f"{len(seen.groups):,} groups ({named(seen.groups, 6)}) in {len(cells):,} pairs of class "
        "and group; the accuracy of the worst one is reported."
    )
    if empty := seen.empty_cells():
        first = [f"{name} in {group} ({number:,})" for name, group, number in empty]
        yield filled(
            f"Images but none for training: {len(empty):,} of {len(cells):,} pairs, "
            f"{named(first)}. They are tested all the same; the classifier knows the class from "
            "its other groups."
        )


def _tiny(seen: Look) -> Iterator[str]:
    for split in ("val", "test"):
        counts = seen.counts[split]
        if none := [n for n, count in zip(seen.class_names, counts, strict=True) if not count]:
            yield filled(
                f"Without {_NAMES[split]} images: {named(none)}. Nothing is told of them."
            )
        tiny = [
            (count, name)
            for name, count in zip(seen.class_names, counts, strict=True)
            if 0 < count < _TINY
        ]
        if not tiny:
            continue
        count, name = min(tiny)
        right = round(0.8 * count)
        low, high = binomtest(right, count).proportion_ci(method="wilson")
        yield filled(
            f"{len(tiny):,} of {len(counts):,} classes have fewer than {_TINY} {_NAMES[split]} "
            f"images, {brief(name, 40)} has {count}: an accuracy of {right / count:.0%} on so few "
            f"may in truth be anything from {low:.0%} to {high:.0%}. Look at bins and at the "
            "whole rather than at such a class."
        )


def _repeats(seen: Look, published: bool) -> Iterator[str]:
    repeats: Repeats = seen.repeats
    how = "by their pixels" if repeats.of_pixels else "files byte by byte"
    if not repeats.within and not repeats.across:
        yield filled(
            f"No image occurs twice (compared {how}). For those that are nearly the same, prepare "
            "looks."
        )
    if repeats.within:
        each = ", ".join(f"{n:,} in {_NAMES[split]}" for split, n in repeats.within.items())
        yield filled(f"Images that repeat another of their split ({how}): {each}.")
    if repeats.across:
        each = ", ".join(f"{n:,} in {pair}" for pair, n in repeats.across.items())
        yield filled(
            f"IMAGES IN TWO SPLITS ({how}): {each}. Results would be too good."
            + (
                " In published sets they are counted; prepare.overlaps: drop leaves them out of "
                "training."
                if published
                else " They will be left out of training (prepare.overlaps: drop); better remove "
                "them yourself."
            )
        )
        for one, other in repeats.pairs:
            yield filled(f"  {shown(one)} = {shown(other)}", "    ")


def _pictures(seen: Look) -> Iterator[str]:
    readable = len(seen.sides)
    looked = (
        f"all {seen.looked:,} pictures"
        if seen.looked == seen.num_images
        else f"{seen.looked:,} of {seen.num_images:,} pictures, some of each class and split"
    )
    if readable:
        width, height = (sorted(seen.sides[:, axis].tolist()) for axis in (0, 1))
        formats = ", ".join(f"{name} ({n:,})" for name, n in seen.formats.most_common())
        mean = seen.sides.mean(axis=0)
        colour = (
            "none has colours"
            if seen.num_grey == readable
            else "all have colours"
            if not seen.num_grey
            else f"{seen.num_grey:,} have no colours"
        )
        yield filled(
            f"Looked at {looked}: {mean[0]:,.0f} x {mean[1]:,.0f} pixels in the mean, "
            f"{width[0]:,} x {height[0]:,} at least, {width[-1]:,} x {height[-1]:,} at most; "
            f"{formats}; {colour}."
        )
    if seen.num_unreadable:
        yield filled(
            f"{seen.num_unreadable:,} of {seen.looked:,} cannot be read, and prepare will stop on "
            "them: repair or remove them."
        )
        for line in seen.unreadable:
            yield filled(f"  {line}", "    ")


def _mirrored(seen: Look) -> Iterator[str]:
    found = seen.mirrored
    statistic = (
        f"{found.share:.0%} of {found.num_images:,} training images are nearer to another of "
        "their class as they are than mirrored (grey, 16 x 16 pixels; 50% where left and right "
        "mean nothing)"
    )
    if found.may_flip:
        yield filled(f"Mirror images: {statistic}. Nothing speaks against flips in training.")
        return
    if found.told_apart:
        names = [
            f"{seen.class_names[label]} ({share:.0%} of {number:,})"
            for label, (share, number) in found.told_apart.items()
        ]
        yield filled(
            f"Mirror images: {statistic}. Told apart from their mirror images: {named(names)}. "
            "No flips in training."
        )
    elif found.num_images:
        yield filled(f"Mirror images: {statistic}. In doubt: no flips in training.")
    else:
        yield "Mirror images: too few pictures to tell. In doubt: no flips in training."
