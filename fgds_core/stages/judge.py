"""The judge: who says what an image shows, and how often that is right of real images."""

from dataclasses import replace
from pathlib import Path

from fgds_core.data.meta import read_meta
from fgds_core.data.splits import read_prepared
from fgds_core.images.reading import IN_THIS_PROCESS, Reading
from fgds_core.judge.calibrate import calibrated
from fgds_core.judge.cross_fitted import folds_of
from fgds_core.judge.judge import awake
from fgds_core.judge.record import JudgeRecord, write_record


def calibrate(
    prepared: Path,
    record: JudgeRecord,
    folds: Path,
    out: Path,
    *,
    device: str = "cpu",
    reading: Reading = IN_THIS_PROCESS,
) -> JudgeRecord:
    """Shows a judge real validation images and writes its record.

    Of a cross-fitted judge each training image is shown to the classifier that was trained
    without it, too.

    Args:
        prepared: Prepared data; test images are not read.
        record: Who it is.
        folds: Where its classifiers lie, if it has some of its own.
        out: Gets `judge.json`.
        device: Where it computes.
        reading: How images are read.

    Returns:
        Its record, with what it recognised.

    Raises:
        InputError: Its networks or an image cannot be read.
    """
    judge, val = awake(folds, record, device), read_prepared(prepared, "val")
    found = calibrated(judge, val, reading=reading)
    if record.num_folds:
        train = read_prepared(prepared, "train")
        its_folds = folds_of(train.labels, record.num_folds, record.seed)
        unseen = calibrated(judge, train, folds=its_folds, reading=reading)
        found = replace(found, training=unseen.validation)
    write_record(out, found)
    return found


def num_shown(prepared: Path, record: JudgeRecord) -> int:
    """How many real images a judge is shown."""
    counts = read_meta(prepared).counts
    return sum(counts["val"]) + (sum(counts["train"]) if record.num_folds else 0)
