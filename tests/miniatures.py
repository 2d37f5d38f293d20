"""Published data sets in miniature: their layout, names and lines, a few pictures of a few pixels.

The lines are those of the published files; what a picture shows tells its class.
"""

import csv
import json
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fgds_core.images.formats import PNG, encode_picture

Write = Callable[[Path], None]

SPLITS = ("train", "val", "test")


class Pictures:
    """Pictures of which no two are alike, and whose brightness tells the class."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def pixels(self, label: int, height: int, width: int) -> np.ndarray:
        """Noise around a level of grey, [H, W, 3]."""
        noise = self._rng.integers(-40, 40, (height, width, 3))
        return np.clip(60 + 60 * label + noise, 0, 255).astype(np.uint8)

    def write(self, path: Path, label: int, mode: str = "RGB", form: str | None = None) -> None:
        """Writes one, in the format that its name says unless another is given."""
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(self.pixels(label, 22, 18)).convert(mode)
        picture.save(path, form or {".jpg": "JPEG", ".jpeg": "JPEG"}[path.suffix.lower()])


def imagenet_lt(root: Path) -> None:
    """Lists, names and the folders train and val; one CMYK JPEG and one PNG named .JPEG."""
    names = {"n01440764": "tench", "n01443537": "goldfish", "n01484850": "great white shark"}
    pictures, number = Pictures(), count(100)
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for label, wnid in enumerate(names):
        for split, images in (("train", (12, 6, 3)[label]), ("val", 4), ("test", 4)):
            for _ in range(images):
                path = f"train/{wnid}/{wnid}_{next(number)}.JPEG"
                if split == "test":
                    path = f"val/{wnid}/ILSVRC2012_val_{next(number):08}.JPEG"
                pictures.write(root / path, label)
                lists[split].append(f"{path} {label}")
    pictures.write(root / lists["train"][0].split()[0], 0, mode="CMYK")
    pictures.write(root / lists["train"][1].split()[0], 0, form="PNG")
    for split, lines in lists.items():
        (root / f"ImageNet_LT_{split}.txt").write_text("".join(f"{line}\n" for line in lines))
    lines = "".join(f"{wnid} {name}\n" for wnid, name in names.items())
    (root / "classnames.txt").write_text(lines)


def places_lt(root: Path) -> None:
    """The easyformat archive with its lists; a class with a sub-scene."""
    classes = ("airfield", "apartment_building-outdoor", "zen_garden")
    pictures, number = Pictures(), count(1)
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for label, name in enumerate(classes):
        for split, images in (("train", (11, 5, 3)[label]), ("val", 4), ("test", 4)):
            for _ in range(images):
                path = f"train/{name}/{next(number):08}.jpg"
                if split == "test":
                    path = f"val/{name}/Places365_val_{next(number):08}.jpg"
                pictures.write(root / path, label)
                lists[split].append(f"{path} {label}")
    for split, lines in lists.items():
        (root / f"Places_LT_{split}.txt").write_text("".join(f"{line}\n" for line in lines))
    (root / "classnames.txt").write_text("".join(f"{name} {name}\n" for name in classes))


def inaturalist2018(root: Path) -> None:
    """COCO's form, the annotations in another order than the images, names in a file apart."""
    names = ("Hermodice carunculata", "Panthera leo", "Rosa canina")
    kingdoms = ("Animalia", "Animalia", "Plantae")
    pictures, number = Pictures(), count(1)
    categories = [{"id": k, "name": str(k), "supercategory": kingdoms[k]} for k in range(3)]
    for year, counts in (("train2018", (14, 8, 4)), ("val2018", (3, 3, 3))):
        images, annotations = [], []
        for label, images_of_class in enumerate(counts):
            for _ in range(images_of_class):
                i = next(number)
                path = f"train_val2018/{kingdoms[label]}/{label}/{i:032x}.jpg"
                pictures.write(root / path, label)
                size = {"width": 18, "height": 22}
                images.append({"id": i, "file_name": path, "license": 3, **size})
                annotations.append({"id": i, "image_id": i, "category_id": label})
        tree = {"images": images, "annotations": annotations[::-1], "categories": categories}
        (root / f"{year}.json").write_text(json.dumps(tree))
    described = [
        {"kingdom": kingdom, "name": name, "family": "x", "supercategory": kingdom, "id": k}
        for k, (name, kingdom) in enumerate(zip(names, kingdoms, strict=True))
    ]
    (root / "categories.json").write_text(json.dumps(described))


def cifar10_lt(root: Path) -> None:
    """The python version of four classes, 24 training images each: batches of planes."""
    names, pictures = ("airplane", "automobile", "bird", "cat"), Pictures()
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def batch(labels: Sequence[int]) -> dict[bytes, object]:
        planes = [pictures.pixels(label, 32, 32).transpose(2, 0, 1) for label in labels]
        data = np.stack(planes).reshape(len(labels), -1)  # [N, 3 * H * W]
        files = [b"a.png"] * len(labels)
        return {b"data": data, b"labels": list(labels), b"filenames": files}

    def write(name: str, value: object) -> None:
        (folder / name).write_bytes(pickle.dumps(value, protocol=2))

    labels = np.random.default_rng(0).permutation(np.repeat(range(4), 24)).tolist()
    for number in range(5):
        write(f"data_batch_{number + 1}", batch(labels[number::5]))
    write("test_batch", batch([0, 1, 2, 3] * 3))
    write("batches.meta", {b"label_names": [name.encode() for name in names], b"num_vis": 3072})


def cifar100_lt(root: Path) -> None:
    """The Parquet files of the hub, of four classes: columns img, fine_label, coarse_label."""
    names, pictures = ["apple", "aquarium_fish", "baby", "bear"], Pictures()
    features = {
        "img": {"_type": "Image"},
        "fine_label": {"names": names, "_type": "ClassLabel"},
        "coarse_label": {"names": ["people", "others"], "_type": "ClassLabel"},
    }
    folder = root / "cifar100"
    folder.mkdir(parents=True)
    for split, labels in (("train", [0, 1, 2, 3] * 24), ("test", [0, 1, 2, 3] * 3)):
        files = [
            encode_picture(Image.fromarray(pictures.pixels(label, 32, 32)), PNG)
            for label in labels
        ]
        columns = {
            "img": pa.array(
                [{"bytes": file, "path": None} for file in files],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "fine_label": pa.array(labels, pa.int64()),
            "coarse_label": pa.array([int(label != 2) for label in labels], pa.int64()),
        }
        about = {"huggingface": json.dumps({"info": {"features": features}})}
        table = pa.table(columns).replace_schema_metadata(about)
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")


NICO = {
    ("autumn", "car"): 14,
    ("autumn", "flower"): 9,
    ("autumn", "hot air balloon"): 4,  # all of them held out: none trains
    ("dim", "car"): 10,
    ("dim", "hot air balloon"): 12,
    ("water", "car"): 8,
    ("water", "flower"): 8,
    ("water", "hot air balloon"): 7,
}
"""Images of each class in a context; a class is missing in one."""


def nico(root: Path) -> None:
    """Contexts of classes, the numbers of the classes, and test images without labels."""
    numbers = {"car": 0, "flower": 1, "hot air balloon": 2}
    root.mkdir(parents=True)
    (root / "dg_label_id_mapping.json").write_text(json.dumps(numbers))
    pictures = Pictures()
    for (context, name), images in NICO.items():
        folder = root / "public_dg_0416" / "train" / context / name
        for i in range(images):
            pictures.write(folder / f"{context}_{i:06}.jpg", numbers[name])
    pictures.write(root / "public_dg_0416" / "public_test_flat" / "0.jpg", 0)


def _cells(counts: Mapping[str, Sequence[int]]) -> Iterator[tuple[int, int, int]]:
    """Split, class and group, both 0 or 1, of each image; counts are by 2 * class + group."""
    for split, name in enumerate(SPLITS):
        for cell, images in enumerate(counts[name]):
            yield from [(split, cell // 2, cell % 2)] * images


GROUPS = {"train": (10, 4, 2, 5), "val": (3, 3, 3, 3), "test": (4, 4, 3, 3)}


def waterbirds(root: Path) -> None:
    """metadata.csv beside the species' folders; landbird, waterbird on land, water."""
    pictures = Pictures()
    species = ("009.Brewer_Blackbird/Brewer_Blackbird", "001.Black_footed_Albatross/Black_Footed")
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    for i, (split, label, place) in enumerate(_cells(GROUPS), 1):
        path = f"{species[label]}_{i:04}_{i}.jpg"
        pictures.write(root / path, label)
        scene = ("/b/bamboo_forest/00003975.jpg", "/o/ocean/00004600.jpg")[place]
        lines.append(f"{i},{path},{label},{split},{place},{scene}")
    (root / "metadata.csv").write_text("".join(f"{line}\n" for line in lines))


def celeba(root: Path) -> None:
    """Kaggle's form: 40 attributes of -1 and 1, the partition with CRLF, folders nested twice."""
    pictures = Pictures()
    names = [f"Attribute_{i}" for i in range(40)]
    names[9], names[20] = "Blond_Hair", "Male"
    rows, partition = [], ["image_id,partition"]
    for i, (split, blond, male) in enumerate(_cells(GROUPS), 1):
        name = f"{i:06}.jpg"
        pictures.write(root / "img_align_celeba" / "img_align_celeba" / name, blond)
        attributes = dict.fromkeys(names, -1)
        attributes |= {"Blond_Hair": 2 * blond - 1, "Male": 2 * male - 1}
        rows.append({"image_id": name, **attributes})
        partition.append(f"{name},{split}")
    with (root / "list_attr_celeba.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image_id", *names], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (root / "list_eval_partition.csv").write_bytes("\r\n".join(partition).encode())


def own(root: Path) -> None:
    """A folder of pictures for each class, among them what a folder of pictures may hold."""
    pictures = Pictures()
    for label, (name, images) in enumerate({"daisy": 30, "red rose": 12, "tulip": 10}.items()):
        for i in range(images):
            pictures.write(root / name / f"IMG {i:04}.JPG", label)
    (root / ".DS_Store").write_bytes(b"x")


MINIATURES: dict[str, Write] = {
    "imagenet_lt": imagenet_lt,
    "places_lt": places_lt,
    "inaturalist2018": inaturalist2018,
    "cifar10_lt": cifar10_lt,
    "cifar100_lt": cifar100_lt,
    "nico": nico,
    "waterbirds": waterbirds,
    "celeba": celeba,
    "own_small": own,
    "own_gpu": own,
}
"""What writes the data of each recipe in miniature."""

SMALL = {
    "prepare.image_size": 32,
    "train_baseline.model": "resnet10t",
    "train_baseline.model_kwargs": {"stem_width": 8, "channels": [8, 8, 16, 16]},
    "train_baseline.pretrained": "none",
    "train_baseline.input_size": 32,
    "train_baseline.num_steps": 4,
    "train_baseline.batch_size": 8,
    "train_baseline.warmup_steps": 1,
    "train_baseline.eval_every": 2,
    "generator.image_size": None,
    "generator.dtype": "float32",
    "judge.kind": "cross_fitted",
    "judge.path": None,
    "judge.folds": 2,
    "synthesize.num_inference_steps": 6,
    "assess.min_images_fid": 8,
    "assess.min_images": 4,
    "assess.fid_blocks": 2,
    "assess.kid_subsets": 2,
    "assess.kid_subset_size": 8,
    "assess.nearest_k": 2,
    "assess.bootstrap_samples": 2,
    "assess.grid_images": 2,
    "assess.grid_neighbours": 2,
    "report.images_per_class": 2,
    "report.neighbours_per_image": 2,
    "compute.device": "cpu",
    "compute.threads": 1,
    "compute.loader_workers": 0,
    "compute.batch_size": 16,
    "compute.micro_batch": None,
}
"""What makes a recipe's run one of seconds."""

OVERRIDES = {
    "imagenet_lt": {"synthesize.target_per_class": 14},
    "places_lt": {"synthesize.target_per_class": 13},
    "inaturalist2018": {"synthesize.target_per_class": 15},
    "cifar10_lt": {
        "data.imbalance": {"type": "exp", "factor": 8, "seed": 0},
        "data.validation_per_class": 3,
        "synthesize.target_per_class": 18,
    },
    "cifar100_lt": {
        "data.imbalance": {"type": "step", "factor": 6, "seed": 0},
        "data.validation_per_class": 3,
        "synthesize.target_per_class": 18,
    },
    "nico": {"data.held_out": 6, "synthesize.target_per_group": 5},
    "waterbirds": {"synthesize.target_per_group": 7},
    "celeba": {"synthesize.target_per_group": 8},
    "own_small": {"synthesize.target_per_class": 24},
    "own_gpu": {"synthesize.target_per_class": 24},
}
"""What a recipe's numbers are for its miniature."""
