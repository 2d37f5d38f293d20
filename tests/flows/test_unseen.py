"""A class and groups without training images, from raw pictures to the page."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from micro import CLASS_NAMES, set_params

from fgds_core.images.table import image_schema

Run = Callable[..., int]
UNSEEN, CONTEXTS = CLASS_NAMES[-1], ("dim", "rock")
DRAWN = {
    "generator": {"prompts": ["a {class} in {group}"]},
    "synthesize": {"target_per_group": 6, "conditioning": "text"},
}


def leave_out(folder: Path) -> None:
    """Takes the last class out of training, and of each context gives the first one more."""
    for split in ("train", "validation", "test"):
        path = folder / f"{split}.parquet"
        table = pq.read_table(path)
        if split == "train":
            table = table.filter(pc.less(table["label"], len(CLASS_NAMES) - 1))
        first = [row < 2 or (split != "train" and row % 2) for row in range(table.num_rows)]
        groups = pa.array([CONTEXTS[not each] for each in first])
        schema = image_schema(CLASS_NAMES, {"group": pa.string()})
        columns = [table["image"], table["label"], groups]
        pq.write_table(pa.table(columns, names=schema.names).cast(schema), path)


def test_what_no_image_was_there_for_is_drawn_from_text_and_trained(
    workspace: Path, run_stage: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_out(workspace / "assets" / "pictures")
    assert run_stage("prepare") == 0
    assert f"no training images: {UNSEEN}; such a class is drawn from text" in (
        capsys.readouterr().out
    )
    set_params(workspace, {**DRAWN, "report": {"max_classes": 3}})
    trained = ("judge", "train_baseline", "train_control")
    for stage in (*trained, "synthesize", "assess", "retrain", "report"):
        assert run_stage(stage) == 0, stage
    rows = pq.read_table(workspace / "data" / "synthetic").to_pylist()
    real = pq.read_table(workspace / "data" / "prepared" / "train.parquet").to_pylist()
    cells = Counter((row["label"], row["group"]) for row in [*real, *rows])
    assert {cells[label, group] for label in range(3) for group in CONTEXTS} >= {6}
    assert min(cells[label, group] for label in range(3) for group in CONTEXTS) == 6
    assert {row["prompt"] for row in rows if row["label"] == 2} == {
        f"a {UNSEEN} in {group}" for group in CONTEXTS
    }
    assert (workspace / "reports" / "index.html").is_file()
