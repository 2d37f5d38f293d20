"""Which real images the pipeline starts from, and how they are prepared."""

import re
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, model_validator

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


class SplitFolders(Section):
    """The splits are folders: root/<split>/<class>/*."""

    by: Literal["folders"] = Field(description="one folder for each split, below root")
    train: str = Field(min_length=1, description="name of the folder of training images")
    validation: str | DrawnValidation = Field(
        description="name of the folder of validation images; or, where there is none, "
        "{fraction: 0.1, seed: 0} draws them from the training images"
    )
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


class CelebaData(Section):
    """CelebA; one of its attributes makes two classes, another one two groups."""

    kind: Literal["celeba"] = Field(
        description="CelebA in its text form or Kaggle's, with classes and groups by attributes"
    )
    root: str = Field(
        min_length=1,
        description="the folder that holds list_attr_celeba, list_eval_partition (.txt or .csv, "
        "also in Anno and Eval) and img_align_celeba, and nothing the pipeline makes",
    )
    label: str = Field(
        default="Blond_Hair", min_length=1, description="attribute that makes the two classes"
    )
    group: str | None = Field(
        default="Male",
        min_length=1,
        description="attribute that makes the two groups; null reads no groups",
    )
    class_names: list[str] | None = Field(
        default=None,
        description="names of the classes, without the attribute and with it; null takes the "
        "attribute's name, and not before it",
    )
    group_names: list[str] | None = Field(
        default=None, description="names of the groups, like class_names"
    )

    @model_validator(mode="after")
    def _differ(self) -> "CelebaData":
        if self.label == self.group:
            raise ValueError(f"label and group must be different attributes, got {self.label}")
        return self


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


class PathRewrite(Section):
    """A regular expression, and what takes the place of each path that it fits as a whole."""

    pattern: str = Field(min_length=1, description="regular expression of a whole path")
    replacement: str = Field(description=r"what takes its place, with \1 for its first group")

    @model_validator(mode="after")
    def _compile(self) -> "PathRewrite":
        try:
            re.compile(self.pattern).sub(self.replacement, "")
        except (re.error, IndexError) as error:
            raise ValueError(f"pattern and replacement do not fit: {error}") from error
        return self


class ListData(Section):
    """Text files with a path and a label in each line, as long-tailed benchmarks are published."""

    kind: Literal["list"] = Field(description="image files named in text files, with their labels")
    root: str = Field(
        min_length=1,
        description="the folder that holds lists and images, and nothing the pipeline makes",
    )
    images: str | None = Field(
        default=None,
        min_length=1,
        description="the folder below root that the paths in the lists begin at; null is root",
    )
    train: str = Field(min_length=1, description="the list of training images, below root")
    validation: str | DrawnValidation = Field(
        description="the list of validation images, below root; or, where none is published, "
        "{fraction: 0.1, seed: 0} draws them from the training images"
    )
    test: str = Field(min_length=1, description="the list of test images, below root")
    groups: bool = Field(
        default=False,
        description="true reads lines of path, label and group; false of path and label",
    )
    class_names: str | list[str] | None = Field(
        default=None,
        description="names in the order of the labels, or a file of them below root: a name or an "
        "id and a name a line, or JSON; null takes those of the images' folders if they are "
        "one to one, and else the labels",
    )
    path_rewrite: (
        Literal["places_easyformat_to_256", "places_256_to_easyformat"] | PathRewrite | None
    ) = Field(
        default=None,
        description="how paths in the lists become those on the disk: {pattern, replacement}, or "
        "between the two forms of Places; null leaves them",
    )


class SplitValues(Section):
    """What stands in the column of splits; rows with anything else are left out."""

    train: str | NonNegativeInt = Field(description="of training images")
    validation: str | NonNegativeInt | None = Field(
        default=None, description="of validation images"
    )
    test: str | NonNegativeInt = Field(description="of test images")

    @model_validator(mode="after")
    def _differ(self) -> "SplitValues":
        values = [str(value) for value in (self.train, self.validation, self.test)]
        if len(set(values)) < len(values):
            raise ValueError(f"the values of the splits must differ, got {values}")
        return self


class CsvData(Section):
    """A CSV file with a row for each image, as group benchmarks are published."""

    kind: Literal["csv"] = Field(description="image files named in a CSV file")
    root: str = Field(
        min_length=1,
        description="the folder that holds the CSV file and the images, and nothing the "
        "pipeline makes",
    )
    file: str = Field(min_length=1, description="the CSV file, below root")
    images: str | None = Field(
        default=None,
        min_length=1,
        description="the folder below root that the names in the file begin at; null is root",
    )
    filename_column: str = Field(
        default="filename", min_length=1, description="column with the paths of the images"
    )
    label_column: str = Field(
        default="y",
        min_length=1,
        description="column with the classes: whole numbers from 0, names, or -1 and 1",
    )
    group_column: str | None = Field(
        default="a",
        min_length=1,
        description="column with the group (context) of each image, used where the file has it; "
        "null reads no groups",
    )
    split_column: str = Field(
        default="split", min_length=1, description="column with the split of each image"
    )
    split_file: str | None = Field(
        default=None,
        min_length=1,
        description="another CSV file below root that holds the column of splits, joined by the "
        "column of paths; null is the file itself",
    )
    splits: SplitValues | None = Field(
        default=None,
        description="which values mean which split; null knows 0, 1, 2 and train, val, test",
    )
    validation: DrawnValidation | None = Field(
        default=None,
        description="draws validation images from the training images where the file names none, "
        "such as {fraction: 0.1, seed: 0}; null reads them from the file",
    )
    class_names: str | list[str] | None = Field(
        default=None,
        description="names in the order of the labels, or a file of them below root: a name or an "
        "id and a name a line, or JSON; null takes the labels",
    )
    group_names: list[str] | None = Field(
        default=None,
        description="names of groups that are whole numbers from 0; null takes what is there",
    )


class CocoData(Section):
    """JSON files of images, annotations and categories, as COCO's and iNaturalist's."""

    kind: Literal["coco"] = Field(
        description="image files named in JSON files of images, annotations and categories"
    )
    root: str = Field(
        min_length=1,
        description="the folder that holds JSON files and images, and nothing the pipeline makes",
    )
    images: str | None = Field(
        default=None,
        min_length=1,
        description="the folder below root that file_name begins at; null is root",
    )
    train: str = Field(min_length=1, description="the JSON file of training images, below root")
    validation: str | DrawnValidation = Field(
        description="the JSON file of validation images, below root; or, where none is published, "
        "{fraction: 0.1, seed: 0} draws them from the training images"
    )
    test: str = Field(min_length=1, description="the JSON file of test images, below root")
    class_names: str | list[str] | None = Field(
        default=None,
        description="names in the order of the categories' ids, or a file of them below root: a "
        "name a line, or JSON; null takes the names of the categories",
    )


class HuggingfaceData(Section):
    """A data set of the Hugging Face datasets library, saved by it or on the hub."""

    kind: Literal["huggingface"] = Field(
        description="a data set of the Hugging Face hub, or one that its library saved"
    )
    root: str = Field(
        min_length=1,
        description="the folder that save_to_disk wrote, or that holds a data set's Parquet "
        "files; with repository, an existing folder that these are brought to",
    )
    repository: str | None = Field(
        default=None,
        pattern=r"^\w[\w.-]*(/\w[\w.-]*)?$",
        description="owner/name of a data set on the hub; null reads what lies in root",
    )
    revision: str | None = Field(
        default=None,
        min_length=1,
        description="commit, tag or branch of the repository; refs/convert/parquet has Parquet "
        "files of most data sets",
    )
    subset: str | None = Field(
        default=None,
        pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$",
        description="folder of the Parquet files, where a data set has several configurations",
    )
    train: str = Field(min_length=1, description="name of the split of training images")
    validation: str | DrawnValidation = Field(
        description="name of the split of validation images; or, where there is none, "
        "{fraction: 0.1, seed: 0} draws them from the training images"
    )
    test: str = Field(min_length=1, description="name of the split of test images")
    image_column: str = Field(default="image", min_length=1, description="column of the images")
    label_column: str = Field(default="label", min_length=1, description="column of the classes")
    group_column: str | None = Field(
        default=None, min_length=1, description="column of the groups; null reads none"
    )

    @model_validator(mode="after")
    def _name_both(self) -> "HuggingfaceData":
        if (self.repository is None) != (self.revision is None):
            raise ValueError("repository and revision belong together; name both or none")
        return self


DataConfig = Annotated[
    ParquetData
    | FolderData
    | ListData
    | CsvData
    | CelebaData
    | CifarData
    | ContextsData
    | CocoData
    | HuggingfaceData,
    Field(discriminator="kind"),
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
    near_duplicates: Literal["report", "drop", "off"] = Field(
        default="report",
        description="what becomes of images that are nearly the same in two splits, such as "
        "scaled, coded anew or mirrored: report counts them; drop leaves those of validation and "
        "test out of training, and counts; off does not look for them",
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
