"""Published lists of images that lie elsewhere in another archive of the same data.

Places-LT is published in two forms. The easyformat archive has a folder for each class,
`train/arena-hockey/1.jpg`; the archive of 256 pixels has letters and folders within folders,
`data_256/a/arena/hockey/1.jpg`, and all images of the test in one folder.
"""

from collections.abc import Callable, Iterator

Rewrite = Callable[[str, int], str]
"""The path on the disk of a path in a list and its label."""

TrainingLines = Callable[[], Iterator[tuple[str, int]]]
"""Gives path and label of each line of the training list."""


def places_easyformat_to_256(train: TrainingLines) -> Rewrite:
    """From lists for the easyformat archive to the archive of 256 pixels."""

    def rewrite(path: str, label: int) -> str:
        split, _, rest = path.partition("/")
        folder, _, name = rest.partition("/")
        if split == "train" and folder and name:
            return f"data_256/{folder[0]}/{folder.replace('-', '/')}/{name}"
        return f"val_256/{name}" if split == "val" and name else path

    return rewrite


def places_256_to_easyformat(train: TrainingLines) -> Rewrite:
    """The way back; the training list tells the class folder of the test images."""
    folders = {label: easyformat(path.rpartition("/")[0]) for path, label in train()}

    def rewrite(path: str, label: int) -> str:
        split, _, name = path.partition("/")
        if split == "val_256" and label in folders:
            return f"val/{folders[label]}/{name}"
        folder, _, name = path.rpartition("/")
        return f"train/{easyformat(folder)}/{name}" if split == "data_256" else path

    return rewrite


def easyformat(folder: str) -> str:
    """The name that a folder in the archive of 256 pixels has in the easyformat archive."""
    return "-".join(folder.split("/")[2:])  # without data_256 and the letter


REWRITES: dict[str, Callable[[TrainingLines], Rewrite]] = {
    "places_easyformat_to_256": places_easyformat_to_256,
    "places_256_to_easyformat": places_256_to_easyformat,
}
"""What makes paths in a list those on the disk, by name."""
