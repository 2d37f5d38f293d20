"""What Prefect's UI shows of a run beside its tasks: progress, accuracies, samples, the report.

Artifacts are made in the flow's own process. They are for people and decide nothing: one that
cannot be made is left out, and the run goes on.
"""

import base64
import io
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import TypeVar
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext, TaskRunContext

from tasks.workspace import Workspace

log = logging.getLogger(__name__)

Made = TypeVar("Made")

UPDATE_EVERY_S = 5.0
LAST_UPDATE_S = 10.0
"""How long a stage that is done waits for its last update."""

CLASSES = 20
"""Classes in the sample grid, the rarest first."""

ACCURACY = (
    "Test accuracy in percent: the baseline on imbalanced images, the control on the same real "
    "images by the final classifier's recipe, the final one on synthetic images too. The gain is "
    "final minus control, in points, its interval over test images of this one run."
)

THUMBNAIL = 64
"""Pixels a side."""

ROW = 5
"""Pictures a row: 320 pixels fit a phone."""


@contextmanager
def progress_artifact(name: str) -> Iterator[Callable[[float], None]]:
    """Shows how far something is, updated in the background.

    Args:
        name: Of the stage; the artifact's key is `<name>-progress`.

    Yields:
        A function to call with the share that is done, 0 to 1, from any thread.
    """
    key = f"{name.replace('_', '-')}-progress"
    made = attempt(lambda: create_progress_artifact(0.0, key, f"How far {name} is"))
    if not isinstance(made, UUID):
        yield lambda share: None
        return
    done, stop = [0.0], threading.Event()

    def update() -> None:
        sent, last = 0.0, False
        while not last:
            last = stop.wait(UPDATE_EVERY_S)
            if done[0] != sent:
                sent = done[0]
                attempt(partial(update_progress_artifact, made, 100 * sent))

    # Which server is in use is a variable of the context, which threads do not inherit.
    thread = threading.Thread(target=copy_context().run, args=(update,), daemon=True)
    thread.start()
    try:
        yield lambda share: done.__setitem__(0, share)
    finally:
        stop.set()
        thread.join(LAST_UPDATE_S)


def show_results(workspace: Workspace) -> None:
    """Shows what a finished pipeline has come to: accuracies, synthetic images, the report."""
    page = (workspace.reports / "index.html").resolve()
    rows, grid = partial(accuracies, workspace), partial(sample_grid, workspace)
    attempt(lambda: create_table_artifact(rows(), "accuracy", ACCURACY))
    attempt(lambda: create_markdown_artifact(grid(), "synthetic-samples", "Samples"))
    attempt(lambda: create_link_artifact(page.as_uri(), str(page), "report", "The HTML report"))


def attempt(make: Callable[[], Made]) -> Made | None:
    """Makes an artifact; None outside of a run, or where it cannot be made."""
    if FlowRunContext.get() is None and TaskRunContext.get() is None:
        return None
    try:
        return make()
    except Exception as error:  # whatever is wrong, the run does not depend on it
        log.warning("no artifact: %s", error)
        return None


def accuracies(workspace: Workspace) -> list[dict[str, str]]:
    """The rows of the table of the three classifiers, in percent; gains in points."""
    from fgds_core.report.summary import accuracies, read_summary

    rows = accuracies(read_summary(workspace.reports / "summary.csv"))
    return [{"test accuracy, %": name, **cells} for name, cells in rows]


def sample_grid(workspace: Workspace) -> str:
    """A strip of synthetic images below each class's name as Markdown, the images within.

    Not a table: Prefect's pages cut off what is wider than a cell.
    """
    from fgds_core.data.meta import read_meta
    from fgds_core.report.inputs import read_pictures

    meta = read_meta(workspace.prepared)
    lines = []
    real = meta.counts["train"]
    rarest = sorted(range(len(real)), key=real.__getitem__)[:CLASSES]
    pictures_of: dict[int, list[bytes]] = {}
    for row in read_pictures(workspace.reports / "assess" / "neighbours.parquet", rarest):
        if row["role"] == "synthetic" and row["why"].startswith("first"):
            pictures_of.setdefault(row["of"], []).append(row["image"]["bytes"])
    for label in rarest:
        if pictures := pictures_of.get(label):
            lines.append(f"**{plain(meta.class_names[label])}**, {real[label]} real images")
            lines += [f"![](data:image/jpeg;base64,{row})" for row in _strips(pictures)]
    return "\n\n".join(lines)


def _strips(pictures: list[bytes]) -> list[str]:
    """Rows of pictures that fit a narrow page."""
    rows = [pictures[start : start + ROW] for start in range(0, len(pictures), ROW)]
    return [base64.b64encode(_strip(row)).decode() for row in rows]


def plain(text: str) -> str:
    """Text from users as Markdown that shows just this text: no tag, link, image or new line.

    A character that could mean something to Markdown or HTML is written as its number, and one
    that cannot be seen as a space.
    """
    seen = (character if character.isprintable() else " " for character in text)
    return "".join(
        character if character.isalnum() or character == " " else f"&#{ord(character)};"
        for character in seen
    )


def _strip(pictures: list[bytes]) -> bytes:
    """One JPEG of pictures side by side."""
    from PIL import Image

    strip = Image.new("RGB", (THUMBNAIL * len(pictures), THUMBNAIL))
    for place, picture in enumerate(pictures):
        with Image.open(io.BytesIO(picture)) as image:
            strip.paste(image.resize((THUMBNAIL, THUMBNAIL)), (THUMBNAIL * place, 0))
    file = io.BytesIO()
    strip.save(file, "JPEG", quality=80)
    return file.getvalue()
