"""The networks that features are measured with, checked without loading them."""

from pathlib import Path

from fgds_core.errors import InputError
from fgds_core.generators.adapter import tower_folder
from fgds_core.generators.config import GeneratorConfig
from fgds_core.pretrained.clip import PROCESSOR, TOWER, check_processor
from fgds_core.pretrained.component import check_component, variant_there
from fgds_core.pretrained.folder import Folder, is_folder, readable

INCEPTION_FILE = "inception-2015-12-05.pt"


def check_tower(generator: GeneratorConfig) -> None:
    """Checks the CLIP vision tower that belongs to a generator, where it lies in a folder."""
    adapter = generator.adapter
    holder = adapter or generator.prior or generator
    place = Folder(Path(holder.path), "assess.features")
    if not is_folder(place.path):
        return
    part = "image_encoder" if adapter is None else tower_folder(adapter)
    with readable(place):
        if not (place / part).path.is_dir():
            raise place.wrong(
                f"has no CLIP vision tower ({part})",
                "give a generator that has one, or choose other assess.features",
            )
        variant = variant_there(place / part, generator.variant if adapter is None else None)
        config = check_component(place / part, TOWER, variant)
        if adapter is None:
            name = "feature_extractor" if generator.prior is None else "image_processor"
            processor = place / name
            check_processor(processor, check_component(processor, PROCESSOR), config)


def check_inception(path: Path | str) -> Path:
    """Finds the weights of InceptionV3, in a folder or as the file itself.

    Raises:
        InputError: They are not there, or under another name.
    """
    file = Path(path) / INCEPTION_FILE if Path(path).is_dir() else Path(path)
    if file.name != INCEPTION_FILE or not file.is_file():
        raise InputError(
            f"there are no InceptionV3 weights at {file}: set assess.inception_weights to a local"
            f" copy of {INCEPTION_FILE} (the TorchScript file that clean-fid and StyleGAN's"
            " metrics use), or choose other features"
        )
    return file
