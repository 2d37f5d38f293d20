"""The dataset card of the synthetic set: how to read it, and what each column says.

Whatever reads all files of a Parquet folder would stumble over a `README.md`, so the card's name
begins with an underscore, and what the card tells `datasets` is in a file of its own.
"""

from collections.abc import Sequence
from pathlib import Path

from fgds_core.files import write_text
from fgds_core.synthesis.columns import COLUMNS, Column
from fgds_core.synthesis.excluded import EXCLUDED_NAME
from fgds_core.synthesis.shards import INDEX_NAME

CARD_NAME = "_README.md"
DATASETS_NAME = ".huggingface.yaml"
"""Where `datasets` looks for what it would find at the top of a `README.md`."""

_FRONT_MATTER = """\
license: other
license_name: as-generator-and-real-images
task_categories:
- image-classification
tags:
- synthetic
size_categories:
- {size}
configs:
- config_name: default
  data_files:
  - split: train
    path: "*/part-*.parquet"
"""

_CARD = """\
---
{front_matter}---

# Synthetic images for {num_classes:,} classes

{num_images:,} images in one split, `train`, drawn to fill up classes with few real images. They
are training material: no validation or test image is among them.

```python
datasets.load_dataset("data/synthetic")  # pictures and class names
pandas.read_parquet("data/synthetic")
```
{left_out}
Made by fgds, the stage `synthesize`. `{index}` names every file with its sha256, and under
`made_by` the generator, the parameters and the inputs; with the seed of a row they make its image
again. The licence is what the generator's licence and that of the real images allow.

To upload the folder, rename this file to `README.md`.

| column | type | what it says | null |
|---|---|---|---|
{rows}
"""

_LEFT_OUT = """
The files hold {number:,} more that are left out of training: `{table}` names each by label, index
and seed, with who left it out and why. `datasets` leaves them out by itself; pandas does with a
filter:

```python
datasets.load_dataset("data/synthetic", "left_out")  # their pictures
datasets.load_dataset("data/synthetic", "everything")  # with all images in the files
datasets.load_dataset("data/synthetic", "reasons")  # the table
away = pandas.read_parquet("data/synthetic/{table}")["seed"].tolist()
pandas.read_parquet("data/synthetic", filters=[("seed", "not in", away)])
```
"""

_FILTERS = """\
  filters:
  - [seed, {operator}, [{seeds}]]
"""
"""What of the files `datasets` reads, as `pyarrow` filters rows."""

_LEFT_OUT_CONFIGS = """\
- config_name: left_out
  data_files:
  - split: train
    path: "*/part-*.parquet"
{those}\
- config_name: everything
  data_files:
  - split: train
    path: "*/part-*.parquet"
- config_name: reasons
  data_files:
  - split: train
    path: "{table}"
"""

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
"""What `datasets` calls a set with fewer images than that."""


def write_card(out: Path, wanted: Sequence[int], excluded: Sequence[int] = ()) -> tuple[str, str]:
    """Writes the card of a synthetic set, before its index.

    Args:
        out: Folder of the synthetic set.
        wanted: Images of each class, [K].
        excluded: Seeds of those of them that are left out of training.

    Returns:
        The names of the written files.

    Raises:
        InputError: The disk is full or may not be written.
    """
    num_images = sum(wanted) - len(excluded)
    size = next((name for most, name in _SIZES if num_images < most), "n>10M")
    front_matter, left_out = _FRONT_MATTER.format(size=size), ""
    if excluded:
        seeds = ", ".join(map(str, excluded))
        front_matter += _FILTERS.format(operator="not in", seeds=seeds)
        those = _FILTERS.format(operator="in", seeds=seeds)
        front_matter += _LEFT_OUT_CONFIGS.format(those=those, table=EXCLUDED_NAME)
        left_out = _LEFT_OUT.format(number=len(excluded), table=EXCLUDED_NAME)
    rows = [
        "| `image` | PNG | the picture | never |",
        "| `label` | class | class it is meant to show | never |",
        *(_row(name, column) for name, column in COLUMNS.items()),
    ]
    text = _CARD.format(
        front_matter=front_matter,
        num_classes=sum(count > 0 for count in wanted),
        num_images=num_images,
        index=INDEX_NAME,
        left_out=left_out,
        rows="\n".join(rows),
    )
    write_text(out / DATASETS_NAME, front_matter)
    write_text(out / CARD_NAME, text)
    return DATASETS_NAME, CARD_NAME


def _row(name: str, column: Column) -> str:
    kind = str(column.type).replace("double", "float64")
    return f"| `{name}` | {kind} | {column.about} | {column.null or 'never'} |"
