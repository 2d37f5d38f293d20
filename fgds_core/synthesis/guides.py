"""The classifiers that guide the later rounds of a set, at rest: in a folder below the set.

Readers of Parquet folders pass over names that begin with an underscore.
"""

import shutil
from pathlib import Path

from fgds_core.errors import InputError
from fgds_core.files import files_below, read_json, relative_to, sha256_file, write_json
from fgds_core.synthesis.rounds import Errors

ROUNDS = "_rounds"

RECORD = "round.json"
"""What is written last and makes a classifier count as finished."""


def guide_folder(out: Path, number: int) -> Path:
    """Where the classifier lies that guides a round.

    Args:
        out: Folder of the synthetic set.
        number: Of the round, from 2: the first has no classifier of its own.
    """
    return out / ROUNDS / str(number)


def write_record(folder: Path, fingerprint: str, errors: Errors) -> None:
    """Writes what makes a classifier count as finished.

    Args:
        folder: Its own, with all that it is made of.
        fingerprint: Of everything that decides it.
        errors: How often it is wrong on real validation images, by class and group.
    """
    files = {relative_to(file, folder): sha256_file(file) for file in files_below(folder)}
    files.pop(RECORD, None)
    value = {"fingerprint": fingerprint, "errors": [dict(own) for own in errors], "files": files}
    write_json(folder / RECORD, value)


def finished_guide(folder: Path, fingerprint: str) -> Errors | None:
    """The errors of a classifier that is finished.

    Args:
        folder: Its own.
        fingerprint: Of everything that decides it.

    Returns:
        None if it is missing, damaged or another one, and has to be trained.
    """
    try:
        value = read_json(folder / RECORD, "train it again")
        errors = [{str(group): float(e) for group, e in own.items()} for own in value["errors"]]
        whole = all(sha256_file(folder / name) == sha for name, sha in value["files"].items())
        return errors if whole and value["fingerprint"] == fingerprint else None
    except (InputError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None


def remove_foreign_guides(out: Path, rounds: int) -> None:
    """Removes the classifiers of rounds that the set has not.

    Args:
        out: Folder of the synthetic set.
        rounds: How many it has.
    """
    if rounds == 1:
        shutil.rmtree(out / ROUNDS, ignore_errors=True)
    kept = {guide_folder(out, number) for number in range(2, rounds + 1)}
    for folder in (out / ROUNDS).glob("*"):
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)
