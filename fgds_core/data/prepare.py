"""Preparation of the real images: every one is checked, brought to one size and written.

Nothing is replaced before everything is checked, so a failed run leaves earlier prepared data as
they were.
"""

import hashlib
import logging
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import ExifTags, Image, ImageOps

from fgds_core.data.config import DataConfig, PrepareConfig
from fgds_core.data.imbalance import shot_bins
from fgds_core.data.meta import META_NAME, SPLITS, Meta, write_meta
from fgds_core.data.sources import Source, SourceImage, open_source
from fgds_core.errors import InputError
from fgds_core.files import listed, shown
from fgds_core.images.formats import PNG, decode_picture, encode_picture
from fgds_core.images.table import ROW_GROUP_ROWS, image_schema, image_table, write_image_batches

log = logging.getLogger(__name__)

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

SHOWN_CORRUPT = 20
SHOWN_OVERLAPS = 5

_STAGING = "new.part"


@dataclass
class _Findings:
    """What reading the images has shown so far."""

    first_seen: dict[bytes, tuple[str, str]] = field(default_factory=dict)  # split, path
    corrupt: list[str] = field(default_factory=list)
    overlaps: list[str] = field(default_factory=list)
    counts: dict[str, Counter[int]] = field(default_factory=dict)
    duplicates: Counter[str] = field(default_factory=Counter)
    groups: set[str] = field(default_factory=set)


def prepare(
    data: DataConfig,
    config: PrepareConfig,
    out: Path,
    *,
    advance: Callable[[int], None] = lambda num_images: None,
) -> Meta:
    """Checks all real images and writes `{train,val,test}.parquet` and `meta.json`.

    Bins come from the counts of the training split. Images that repeat an earlier one of their own
    split are kept, and counted.

    Args:
        data: Where the raw images are.
        config: Size, interpolation and crop.
        out: Folder of the prepared data; replaced only if everything is right.
        advance: Called with the number of images that were done since the last call.

    Returns:
        What `meta.json` says.

    Raises:
        InputError: Corrupt images (all are looked for, the first 20 named), a class without
            training images, an image that occurs in two splits, a full disk, or anything
            `open_source` refuses.
    """
    source = open_source(data, max_image_bytes=config.max_image_bytes)
    if source.left_out:
        log.info("%s", source.left_out)
    existed = out.is_dir()
    staging = out / _STAGING
    shutil.rmtree(staging, ignore_errors=True)  # left by a killed run
    try:
        meta = _write_splits(source, config, staging, advance)
        # Without meta.json there are no prepared data: none until all three splits are in place.
        (out / META_NAME).unlink(missing_ok=True)
        for split in SPLITS:
            (staging / f"{split}.parquet").replace(out / f"{split}.parquet")
        write_meta(out, meta)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not existed and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
    return meta


def _write_splits(
    source: Source, config: PrepareConfig, staging: Path, advance: Callable[[int], None]
) -> Meta:
    findings = _Findings()
    extra = {"group": pa.string()} if source.has_groups else {}
    schema = image_schema(source.class_names, extra)
    sha256 = {}
    for split in SPLITS:
        batches = _prepared_batches(source, split, config, schema, findings, advance)
        record = write_image_batches(staging / f"{split}.parquet", schema, batches)
        sha256[split] = record.sha256
    _refuse(findings, source.class_names)
    classes = range(len(source.class_names))
    counts = {split: tuple(findings.counts[split][k] for k in classes) for split in SPLITS}
    bins = dict(zip(source.class_names, shot_bins(counts["train"]), strict=True))
    return Meta(
        class_names=source.class_names,
        image_size=config.image_size,
        counts=counts,
        bins=bins,
        groups=tuple(sorted(findings.groups)) if source.has_groups else None,
        duplicates={split: findings.duplicates[split] for split in SPLITS},
        content_sha256=sha256,
    )


def _prepared_batches(
    source: Source,
    split: str,
    config: PrepareConfig,
    schema: pa.Schema,
    findings: _Findings,
    advance: Callable[[int], None],
) -> Iterator[pa.Table]:
    """Prepares a split in tables of one row group, noting what is wrong on the way."""
    findings.counts[split] = Counter()
    rows: list[SourceImage] = []
    files: list[bytes] = []

    def table() -> pa.Table:
        extra = {"group": [row.group for row in rows]} if source.has_groups else {}
        labels, paths = [row.label for row in rows], [row.path for row in rows]
        return image_table(files, labels, source.class_names, extra, schema=schema, paths=paths)

    for row in source.rows(split):
        findings.counts[split][row.label] += 1
        if row.group is not None:
            findings.groups.add(row.group)
        try:
            data = row.read(config.max_image_bytes)
            picture = to_rgb(decode_picture(data, config.max_image_pixels))
        except InputError as error:
            findings.corrupt.append(f"{split}: {shown(row.path)}: {error}")
            continue
        _note_repetition(content_digest(picture), split, row.path, findings)
        rows.append(row)
        files.append(encode_picture(to_square(picture, config), PNG))
        if len(rows) == ROW_GROUP_ROWS:
            yield table()
            advance(len(rows))
            rows.clear()
            files.clear()
    if rows:
        yield table()
        advance(len(rows))


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its EXIF orientation."""


def to_rgb(picture: Image.Image) -> Image.Image:
    """Turns a picture upright by its EXIF tag and converts it to RGB, transparent parts to white.

    Grey pixels of 16 bits keep their range: 65535 becomes 255. A picture whose EXIF cannot be read
    stays as it is.

    Raises:
        InputError: The picture has floating-point or 32-bit pixels, whose range is not known, or
            colours that have no conversion to RGB.
    """
    turn = _TURNS.get(_orientation(picture))
    if picture.mode.startswith(("I", "F")):
        picture = _eight_bits(picture)
    if turn is not None:
        picture = picture.transpose(turn)
    try:
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture)
        return picture.convert("RGB")
    except ValueError as error:
        raise InputError(f"pixels of mode {picture.mode}; save the image as RGB") from error


def _orientation(picture: Image.Image) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            orientation = picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # as of PIL's other parsers; the pixels are whole
        return 1
    return orientation if isinstance(orientation, int) else 1


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey pixels of 16 bits as 8 bits."""
    # PPM's 16 bits are scaled to 0..65535 by PIL, in the mode of 32 bits.
    if not picture.mode.startswith("I;16") and not (
        picture.mode == "I" and getattr(picture, "format", None) == "PPM"
    ):
        kind = "floating-point" if picture.mode == "F" else "32-bit"
        raise InputError(
            f"{kind} pixels (mode {picture.mode}), whose range from black to white is not known; "
            "save the image with 8 or 16 bits"
        )
    values = np.asarray(picture).astype(np.int64)  # [H, W], 0 to 65535
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def to_square(picture: Image.Image, config: PrepareConfig) -> Image.Image:
    """Brings an RGB picture to image_size x image_size pixels."""
    size = (config.image_size, config.image_size)
    method = INTERPOLATIONS[config.interpolation]
    if config.crop == "center":
        return ImageOps.fit(picture, size, method)
    return picture.resize(size, method)


def content_digest(picture: Image.Image) -> bytes:
    """Digest of an RGB picture's size and pixels, whatever file format they came in, 16 bytes."""
    width, height = picture.size
    digest = hashlib.sha256(f"{width}x{height}:".encode())
    digest.update(picture.tobytes())
    return digest.digest()[:16]


def _note_repetition(digest: bytes, split: str, path: str, findings: _Findings) -> None:
    if digest not in findings.first_seen:
        findings.first_seen[digest] = (split, path)
        return
    first_split, first_path = findings.first_seen[digest]
    if first_split == split:
        findings.duplicates[split] += 1
    else:
        findings.overlaps.append(f"{first_split}: {shown(first_path)} = {split}: {shown(path)}")


def _refuse(findings: _Findings, class_names: tuple[str, ...]) -> None:
    """Stops on whatever the images have shown to be wrong; warns of classes not evaluated."""
    if findings.corrupt:
        raise InputError(
            f"{len(findings.corrupt)} images cannot be used; repair, convert or remove them:"
            + _listed(findings.corrupt, SHOWN_CORRUPT)
        )
    missing = {
        split: [name for k, name in enumerate(class_names) if not findings.counts[split][k]]
        for split in SPLITS
    }
    if missing["train"]:
        raise InputError(
            f"classes without training images: {listed(missing['train'])}; add images or "
            "remove the classes"
        )
    for split in ("val", "test"):
        if not findings.counts[split]:
            name = {"val": "validation"}.get(split, split)
            raise InputError(f"the {name} split holds no images; add some for every class")
        if missing[split]:
            log.warning("no %s images of the classes %s", split, listed(missing[split]))
    if findings.overlaps:
        raise InputError(
            f"{len(findings.overlaps)} images occur in two splits, so that results would be too "
            "good; remove each from one of them:" + _listed(findings.overlaps, SHOWN_OVERLAPS)
        )
    for split, number in findings.duplicates.items():
        log.warning("%d images of the %s split repeat an earlier one", number, split)


def summary(meta: Meta) -> str:
    """What was prepared, in two lines for a person."""
    train, val, test = (sum(meta.counts[split]) for split in SPLITS)
    named = zip(meta.class_names, meta.counts["train"], strict=True)
    count, smallest = min((count, name) for name, count in named)
    bins = Counter(meta.bins.values())
    sizes = ", ".join(f"{bins[name]} {name}" for name in ("many", "medium", "few") if bins[name])
    groups = f" in {len(meta.groups)} groups" if meta.groups is not None else ""
    return (
        f"prepared {train:,} training, {val:,} validation, {test:,} test images{groups} of "
        f"{meta.image_size} x {meta.image_size} pixels\n"
        f"{len(meta.class_names)} classes ({sizes}); smallest: {shown(smallest)} with {count} "
        "training images"
    )


def _listed(lines: list[str], shown: int) -> str:
    more = [f"... and {len(lines) - shown} more"] if len(lines) > shown else []
    return "".join(f"\n  {line}" for line in [*lines[:shown], *more])
