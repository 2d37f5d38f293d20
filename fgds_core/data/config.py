"""Which real images the pipeline starts from, and how they are prepared."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fgds_core.images.formats import JPEG_QUALITY, Encoding
from fgds_core.section import Section


class ParquetData(Section):
    """Parquet tables with an image, a label and perhaps a group in each row."""

    kind: Literal["parquet"] = Field(description="Parquet files with one image in each row")
    root: str = Field(
        min_length=1,
        description="the folder that holds the files and nothing the pipeline makes; DVC watches "
        "it for changes",
    )
    train: str = Field(
        min_length=1,
        description="training images below root: a Parquet file, a folder of Parquet files, or a "
        "pattern such as data/train-*.parquet",
    )
    validation: str = Field(
        min_length=1, description="validation images: a file, a folder or a pattern"
    )
    test: str = Field(min_length=1, description="test images: a file, a folder or a pattern")
    image_column: str = Field(
        default="image",
        min_length=1,
        description="column with the image files: bytes, or a struct with a field bytes",
    )
    label_column: str = Field(
        default="label",
        min_length=1,
        description="column with the classes: whole numbers from 0, or class names",
    )
    group_column: str | None = Field(
        default="group",
        description="column with the group (context) of each image, used where the training "
        "files have it; null reads no groups",
    )
    class_names: list[str] | None = Field(
        default=None,
        description="name of each class in the order of the labels; null takes them from the "
        "ClassLabel metadata of the training files or, sorted, from a label column of names",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> "ParquetData":
        names = self.class_names or []
        if len(set(names)) != len(names):
            raise ValueError(f"class_names must differ from each other, got {names}")
        return self


class SplitFolders(Section):
    """The splits are folders: root/<split>/<class>/*."""

    by: Literal["folders"] = Field(description="one folder for each split, below root")
    train: str = Field(min_length=1, description="name of the folder of training images")
    validation: str = Field(min_length=1, description="name of the folder of validation images")
    test: str = Field(min_length=1, description="name of the folder of test images")


class SplitFractions(Section):
    """The splits are drawn from root/<class>/*, class by class."""

    by: Literal["fractions"] = Field(description="splits drawn at random within each class")
    validation: float = Field(
        gt=0, lt=1, description="fraction of each class for validation, above 0 and below 1"
    )
    test: float = Field(
        gt=0, lt=1, description="fraction of each class for the test, above 0 and below 1"
    )
    seed: int = Field(
        ge=0,
        lt=2**32,
        description="seed of the draw, 0 or more; not the run's seed, so that repeated runs "
        "share their data",
    )

    @model_validator(mode="after")
    def _leave_some_for_training(self) -> "SplitFractions":
        if self.validation + self.test >= 1:
            raise ValueError(
                "validation and test must add up to less than 1, "
                f"got {self.validation} + {self.test}"
            )
        return self


class FolderData(Section):
    """A folder of class folders; the names of the folders are the names of the classes."""

    kind: Literal["folder"] = Field(description="image files in one folder for each class")
    root: str = Field(min_length=1, description="the folder that holds splits or classes")
    split: Annotated[SplitFolders | SplitFractions, Field(discriminator="by")] = Field(
        description="how training, validation and test images are told apart"
    )
    groups: bool = Field(
        description="true reads class folders of group folders, <class>/<group>/*; false <class>/*"
    )


class Imbalance(Section):
    """A balanced set made imbalanced, as CIFAR-LT is: which images stay."""

    type: Literal["exp", "step"] = Field(
        description="exp falls exponentially from class to class; step has the second half of the "
        "classes rare"
    )
    factor: float = Field(
        ge=1, description="ratio of the most to the least frequent class, 1 or more; 1 is balanced"
    )
    seed: int = Field(
        ge=0,
        lt=2**32,
        description="seed of the pick, called rand_number in LDAM-DRW, where it is 0; not the "
        "run's seed",
    )


class CifarData(Section):
    """CIFAR-10 or CIFAR-100, made imbalanced as LDAM-DRW does."""

    kind: Literal["cifar"] = Field(description="CIFAR-10 or CIFAR-100, made imbalanced")
    root: str = Field(
        min_length=1,
        description="the folder of the unpacked python version (cifar-10-batches-py, "
        "cifar-100-python) or of the Parquet files of the hub",
    )
    imbalance: Imbalance = Field(description="which of the training images are picked")
    validation_per_class: int = Field(
        ge=1,
        description="validation images of each class, since CIFAR has none: training images that "
        "are not picked, and where too few are left, the last ones picked",
    )


class ContextsData(Section):
    """A folder of context folders of class folders, as NICO++ is published."""

    kind: Literal["contexts"] = Field(
        description="image files in <context>/<class>/*; contexts are the groups, splits are drawn"
    )
    root: str = Field(
        min_length=1, description="the folder that holds the images and the file of numbers"
    )
    folder: str = Field(
        min_length=1,
        description="the folder of the context folders below root, such as public_dg_0416/train; "
        ". is root itself",
    )
    class_ids: str | None = Field(
        min_length=1,
        description="JSON file below root with the number of each class by its name, such as "
        "NICO++'s dg_label_id_mapping.json; null numbers the names in their order",
    )
    pattern: str = Field(
        default="*.jpg", min_length=1, description="which files are read, by their names"
    )
    held_out: int = Field(
        default=75,
        ge=3,
        description="images of each class in a context, at most, that validate (a third) and "
        "test; where there are no more, none trains",
    )
    seed: int = Field(
        default=666,
        ge=0,
        lt=2**32,
        description="seed of the draw, 666 in SubpopBench; not the run's seed",
    )


class DrawnValidation(Section):
    """A validation split drawn from the training images, for data that have none."""

    fraction: float = Field(
        gt=0,
        lt=1,
        description="fraction of each class's training images that validate instead, above 0 and "
        "below 1; one image at least, of a class that has two",
    )
    seed: int = Field(
        ge=0,
        lt=2**32,
        description="seed of the draw, 0 or more; not the run's seed, so that repeated runs "
        "share their data",
    )


DataConfig = Annotated[
    ParquetData | FolderData | CifarData | ContextsData, Field(discriminator="kind")
]
"""The section `data`, told apart by `kind`."""


class PrepareConfig(Section):
    """What is done to every real image, whatever its split; all become RGB."""

    image_size: int = Field(
        ge=8, le=2048, description="height and width of the prepared images in pixels, 8 to 2048"
    )
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = Field(
        description="filter that resizes; each smooths when it shrinks an image"
    )
    crop: Literal["center", "none"] = Field(
        description="center keeps the largest square in the middle of an image; none keeps all of "
        "it and stretches it to a square; square images are the same under both"
    )
    format: Literal["png", "jpeg"] = Field(
        default="png",
        description="how images are stored, real and synthetic ones: png loses nothing; jpeg "
        "takes a fraction of the bytes of photographs",
    )
    quality: int = Field(
        default=JPEG_QUALITY,
        ge=1,
        le=100,
        description="quality of jpeg, 1 to 100, colours always in full resolution; png has none",
    )
    keep_bytes: bool = Field(
        default=False,
        description="with jpeg: whether a JPEG file that needs no change of pixels is stored as "
        "it is, smaller and sooner; but a classifier can then tell it from a synthetic image by "
        "the traces of its coding",
    )
    overlaps: Literal["refuse", "report", "drop"] | None = Field(
        default=None,
        description="what becomes of images that occur in two splits: refuse stops; report counts "
        "them; drop leaves those of validation and test out of training, and counts; null refuses "
        "them in your own folders and files, and reports them in published sets, which hold some",
    )
    max_image_bytes: int = Field(
        default=100_000_000,
        ge=1,
        le=2**31 - 1,
        description="largest image file that is read, in bytes; a larger one is refused unread",
    )
    max_image_pixels: int = Field(
        default=64_000_000,
        ge=1,
        le=178_956_970,
        description="largest raw image that is decoded, in pixels (width times height)",
    )

    @model_validator(mode="after")
    def _keep_what_is_wanted(self) -> "PrepareConfig":
        if self.keep_bytes and self.format != "jpeg":
            raise ValueError("keep_bytes keeps JPEG files; it needs format jpeg")
        return self

    @property
    def encoding(self) -> Encoding:
        """How every image is stored, and how a synthetic one must be."""
        return Encoding(self.format, self.quality if self.format == "jpeg" else None)
