"""Looks at your own images, says what they are, and writes a params.yaml that runs.

    python -m flows.init flowers                  # then `make repro`, then open reports/index.html
    python -m flows.init flowers --generator models/my-stable-unclip

PATH is a folder of class folders (with folders of splits or without), of <context>/<class>, of
CIFAR's pickles or of Parquet files, a list, a CSV file, JSON of annotations, or the id owner/name
of a data set on the Hugging Face hub, which is brought to the folder hub. All names are read
and at most 2,000 pictures; nothing but the file of parameters is written.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fgds_core.errors import InputError
from fgds_core.files import write_text
from flows.cli.heartbeat import never_silent
from flows.cli.options import command
from flows.cli.params import PARAMS, read_params
from flows.cli.recipes import committed
from flows.cli.stage import exit_status

if TYPE_CHECKING:
    from fgds_core.data.look import Look
    from flows.cli.proposal import Drawer


def main(arguments: Sequence[str] | None = None) -> int:
    """Looks, tells and writes; returns the exit status."""
    parser = command("init", __doc__)
    parser.add_argument("path", metavar="PATH", help="the images: a folder, a file or a hub id")
    parser.add_argument(
        "--generator",
        metavar="PATH_OR_ID",
        help="what draws: a diffusers folder or a model of the hub (the embedded one)",
    )
    parser.add_argument(
        "--out", type=Path, default=PARAMS, metavar="FILE", help="what is written (params.yaml)"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace a file that is there without a question"
    )
    parser.add_argument(
        "--classes",
        choices=("outer", "inner"),
        help="which folders are the classes, where images lie in two levels of them",
    )
    parser.add_argument(
        "--subset", metavar="NAME", help="which configuration, where Parquet files have several"
    )
    args = parser.parse_args(arguments)
    return exit_status(lambda: init(args))


def init(args: argparse.Namespace) -> None:
    """Looks at the data, tells what they are and writes parameters for them.

    Raises:
        InputError: There are no data that are known, or a file is in the way.
    """
    from fgds_core.data.config import PrepareConfig
    from fgds_core.data.look import look
    from fgds_core.data.recognise import recognise
    from fgds_core.data.sources import open_source
    from flows.cli.findings import told
    from flows.cli.proposal import drawer, proposal
    from flows.cli.written import TEMPLATE, params_text

    limits = {
        name: PrepareConfig.model_fields[name].default
        for name in ("max_image_bytes", "max_image_pixels")
    }
    with never_silent("init"):
        by = drawer(args.generator)
        found = recognise(args.path, classes=args.classes, subset=args.subset)
        source = open_source(found.data, limits["max_image_bytes"])
        seen = look(source, **limits)
    print(told(found, source, seen))
    text = params_text(
        proposal(found, seen, not source.published, by), TEMPLATE.read_text(encoding="utf-8")
    )
    params = _checked(text)
    print(f"\n{_expected(params, seen, by)}")
    kept = _write(text, args.out, force=args.force)
    print(f"\n{_next(args.out)}{kept}")


def _checked(text: str) -> dict[str, Any]:
    """The parameters as every stage will read them."""
    with TemporaryDirectory(prefix="fgds-init-") as folder:
        path = Path(folder) / PARAMS.name
        path.write_text(text, encoding="utf-8")
        return read_params(path)


def _expected(params: dict[str, Any], seen: "Look", by: "Drawer") -> str:
    """What the run will draw, and what it takes, as far as rules tell."""
    from fgds_core.synthesis.plan import plan_set
    from flows.cli.findings import filled
    from flows.cli.proposal import disk_bytes, minutes

    config = params["synthesize"]
    in_groups = config.target_per_group is not None
    cells = seen.train_cells if in_groups else None
    plan = plan_set(seen.counts["train"], seen.class_names, config, cells)
    has = "class in each group" if in_groups else "class"
    number = config.target_per_group if in_groups else config.target_per_class
    wanted, training = sum(plan.wanted), params["train_baseline"]
    lines = [
        f"The run: pictures of {params['prepare'].image_size} x {params['prepare'].image_size} "
        f"pixels ({params['prepare'].format}); {training.model}, {training.num_steps:,} steps of "
        f"{training.batch_size}, trained three times and {params['judge'].folds} times for a "
        f"judge that knows these data; {wanted:,} synthetic images, so that each "
        f"{has} has {number:,} (parts: {len(plan.parts):,}).",
    ]
    size = disk_bytes(seen, params["prepare"], wanted)
    amount = f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{max(1, size / 1e6):,.0f} MB"
    lines.append(f"Disk: about {amount}, with the copies in DVC's cache.")
    if training.pretrained == "default":
        lines.append(
            "The classifier starts from timm's weights, which are brought from the hub once; "
            "train_baseline.pretrained: none starts from nothing."
        )
    if by.is_embedded:
        taken = minutes(training, params["judge"].folds, wanted, config.num_inference_steps)
        lines.append(
            f"Time: about {taken:,.0f} minutes on "
            "2 CPU cores (by the times of the embedded data; less with more cores or a GPU)."
        )
        lines.append(
            "THE GENERATOR: the embedded one is a demonstration. It knows ten kinds of garments "
            "and nothing else, and draws them whatever your classes are called: the run will be "
            "whole, the gain will not. For images of your classes name a Stable unCLIP, which "
            "needs a GPU: --generator with a diffusers folder or an id on the hub "
            "(docs/generators.md). Or let this one learn them from your training images, minutes "
            "on a CPU: adapt.enabled: true, which makes them drawable, not yet useful "
            "(docs/trust.md)."
        )
    else:
        lines.append(
            "compute.batch_size suits a small GPU; a larger one takes more (docs/generators.md)."
        )
        lines.append(
            "Time: not known before it is measured; after `dvc repro train_baseline`, "
            "`python -m flows.plan` draws a few images and says device-hours and disk."
        )
        if by.side is None:
            lines.append(
                f"{by.path} is taken for a {by.kind} of the hub (generator.kind) and is checked "
                "when it is loaded."
            )
    return "\n".join(filled(line) for line in lines)


def _write(text: str, out: Path, *, force: bool) -> str:
    """Writes the file; one that differs is replaced only if git has it or the user wants it.

    Returns:
        Where what was there is kept; nothing where nothing was.

    Raises:
        InputError: It is not to be replaced.
    """
    before = out.read_text(encoding="utf-8", errors="replace") if out.is_file() else text
    if before != text and before == committed(out):
        write_text(out, text)
        return f"\nThe parameters before are in git; `git checkout {out}` brings them back."
    if before != text and not force:
        question = f"{out} is there and differs"
        if not sys.stdin.isatty():
            raise InputError(f"{question}; replace it with --force, or write another with --out")
        if input(f"\n{question}. Replace it? [y/N] ").strip().casefold() not in ("y", "yes"):
            raise InputError(f"{out} was left as it is; write another file with --out")
    write_text(out, text)
    return ""


def _next(out: Path) -> str:
    first = "make repro" if out == PARAMS else f"cp {out} params.yaml && make repro"
    return f"Wrote {out}. Next:\n  {first}\n  then open reports/index.html in a browser"


if __name__ == "__main__":
    sys.exit(main())
