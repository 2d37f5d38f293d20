"""Options that several commands have, each said in one place."""

import argparse
import os
from pathlib import Path

from flows.cli.keys import HelpFormatter
from flows.cli.numbers import whole_number
from flows.cli.params import PARAMS


def command(name: str, description: str | None) -> argparse.ArgumentParser:
    """What the command line of `python -m flows.<name>` takes, as yet without options.

    Args:
        name: Of its module.
        description: What `--help` says first; None where Python was told to leave docstrings out.
    """
    return argparse.ArgumentParser(
        prog=f"python -m flows.{name}", description=description, formatter_class=HelpFormatter
    )


def add_params(options: argparse.ArgumentParser) -> None:
    """Adds the option that names another file of parameters."""
    options.add_argument(
        "--params", type=Path, default=PARAMS, metavar="FILE", help="parameters (params.yaml)"
    )


def add_out(options: argparse.ArgumentParser, folder: Path, gets: str) -> None:
    """Adds the option that names the folder of what is written.

    Args:
        options: Of the command.
        folder: Where it goes otherwise.
        gets: What it gets.
    """
    options.add_argument(
        "--out", type=_folder, default=folder, metavar="FOLDER", help=f"gets {gets} ({folder})"
    )


def _folder(text: str) -> Path:
    """A folder that is there or can be made; refused before anything is drawn for it."""
    folder = Path(text)
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"{there} is no folder")
    if not os.access(there, os.W_OK):
        raise argparse.ArgumentTypeError(f"cannot write to {there}")
    return folder


def add_round(options: argparse.ArgumentParser) -> None:
    """Adds the option that names the round of a `Workspace`."""
    options.add_argument(
        "--round",
        type=lambda text: whole_number(text, 1, 999),
        default=1,
        metavar="N",
        help="round N: guided by the final classifier of the round before, with its own folders"
        " round-N below data, models and reports, which DVC does not record (1)",
    )


def add_images(options: argparse.ArgumentParser, *, required: bool) -> None:
    """Adds the options that name synthetic images of one class.

    Args:
        options: Of the command.
        required: Whether it can do nothing without.
    """
    options.add_argument(
        "--class", dest="class_name", required=required, metavar="NAME", help="name of the class"
    )
    options.add_argument(
        "--index",
        type=lambda text: whole_number(text, 0),
        nargs="+",
        required=required,
        metavar="I",
        help="places of the images within the class, from 0",
    )
