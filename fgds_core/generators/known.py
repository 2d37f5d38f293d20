"""Generators that are known, and what their published weights are.

The digests are those that the hub shows of its files (the pages of large files and of commits), or
that several who pinned them wrote down alike; of files that are not named none was found. A copy
is taken for one of these by its name alone: weights that were trained further have the size of
those they began with.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fgds_core.files import sha256_file
from fgds_core.pretrained.folder import Folder

logger = logging.getLogger(__name__)

LONG = 1_000_000_000
"""Bytes from which on reading them is announced."""


class Published(NamedTuple):
    """One file of weights.

    Attributes:
        size: Bytes, exact or to three digits.
        sha256: Of its content.
    """

    size: int
    sha256: str


@dataclass(frozen=True)
class Known:
    """One repository of weights.

    Attributes:
        path: Its id on the hub.
        licence: Under which its weights are.
        files: Those whose digest is published, by their place in it.
        kind: Of the generator, in the parameters; None is what belongs to one.
        takes: What it can be told.
        side: Pixels a side that it was trained for.
    """

    path: str
    licence: str
    files: Mapping[str, Published] = field(default_factory=dict)
    kind: str | None = None
    takes: str = ""
    side: int | None = None


UNET, VAE, TEXT = (
    "unet/diffusion_pytorch_model",
    "vae/diffusion_pytorch_model",
    "text_encoder/model",
)
PLAIN, HALF = ".safetensors", ".fp16.safetensors"

KNOWN = (
    Known(
        "stabilityai/stable-diffusion-2-1-unclip",
        "CreativeML Open RAIL++-M",
        {
            UNET + PLAIN: Published(
                3_480_000_000, "902a190c84ff59777cb0ecb7cd0eb86be822e6e2687376aa744ffb2d398b0b86"
            ),
            UNET + HALF: Published(
                1_740_000_000, "a11c42f0619d06677f792a29b36277bf78bcefb7c010583c631da62e40630ff5"
            ),
            VAE + PLAIN: Published(
                334_643_276, "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815"
            ),
            VAE + HALF: Published(
                167_000_000, "c8b011e5a18c53888d51a81aa28223ddec87b450c14dc9650d9c3ebbcd17624e"
            ),
        },
        "stable-unclip",
        "text, image, dual",
        768,
    ),
    Known(
        "stabilityai/stable-diffusion-2-1-unclip-small",
        "CreativeML Open RAIL++-M",
        {
            UNET + PLAIN: Published(
                3_480_000_000, "344f13b7a6df648ed7638851b047e4d24ad6e4b91bd1cb3e052036356e8fdc3a"
            ),
            "image_normalizer/diffusion_pytorch_model.safetensors": Published(
                6_310, "aeac478227b2f987af0addfe3b7417a2a7ff0bde5b8f5e5b08de9244c30a00c6"
            ),
            "image_normalizer/diffusion_pytorch_model.fp16.safetensors": Published(
                3_240, "b618c9750efcbbab1a527f5eafdf338a89cb1b906913702dee0db6d550426614"
            ),
        },
        "stable-unclip",
        "text, image, dual",
        768,
    ),
    Known(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "CreativeML Open RAIL-M",
        {
            UNET + PLAIN: Published(
                3_438_167_540, "19da7aaa4b880e59d56843f1fcb4dd9b599c28a1d9d9af7c1143057c8ffae9f1"
            ),
            UNET + HALF: Published(
                1_719_125_304, "c83908253f9a64d08c25fc90874c9c8aef9a329ce1ca5fb909d73b0c83d1ea21"
            ),
            VAE + PLAIN: Published(
                334_643_276, "a2b5134f4dbc140d9c11f11cba3233099e00af40f262f136c691fb7d38d2194c"
            ),
            VAE + HALF: Published(
                167_335_342, "4fbcf0ebe55a0984f5a5e00d8c4521d52359af7229bb4d81890039d2aa16dd7c"
            ),
            TEXT + PLAIN: Published(
                492_265_874, "d008943c017f0092921106440254dbbe00b6a285f7883ec8ba160c3faad88334"
            ),
            TEXT + HALF: Published(
                246_144_864, "77795e2023adcf39bc29a884661950380bd093cf0750a966d473d1718dc9ef4e"
            ),
        },
        "text-to-image",
        "text; with an IP-Adapter image, dual",
        512,
    ),
    Known(
        "stabilityai/stable-diffusion-xl-base-1.0",
        "CreativeML Open RAIL++-M",
        {
            UNET + PLAIN: Published(
                10_300_000_000, "357650fbfb3c7b4d94c1f5fd7664da819ad1ff5a839430484b4ec422d03f710a"
            ),
            UNET + HALF: Published(
                5_135_149_760, "83e012a805b84c7ca28e5646747c90a243c65c8ba4f070e2d7ddc9d74661e139"
            ),
            VAE + HALF: Published(
                167_335_342, "bcb60880a46b63dea58e9bc591abe15f8350bde47b405f9c38f4be70c6161e68"
            ),
            TEXT + PLAIN: Published(
                492_000_000, "5c3d6454dd2d23414b56aa1b5858a72487a656937847b6fea8d0606d7a42cdbc"
            ),
            TEXT + HALF: Published(
                246_144_152, "660c6f5b1abae9dc498ac2d21e1347d2abdb0cf6c0c0c8576cd796491d9a6cdd"
            ),
            "text_encoder_2/model.safetensors": Published(
                2_780_000_000, "3a6032f63d37ae02bbc74ccd6a27440578cd71701f96532229d0154f55a8d3ff"
            ),
            "text_encoder_2/model.fp16.safetensors": Published(
                1_389_382_176, "ec310df2af79c318e24d20511b601a591ca8cd4f1fce1d8dff822a356bcdb1f4"
            ),
        },
        "text-to-image",
        "text; with an IP-Adapter image, dual",
        1024,
    ),
    Known(
        "h94/IP-Adapter",
        "Apache-2.0",
        {
            "models/ip-adapter_sd15.safetensors": Published(
                44_642_768, "289b45f16d043d0bf542e45831f971dcdaabe18b656f11e86d9dfba7e9ee3369"
            ),
            "models/image_encoder/model.safetensors": Published(
                2_528_373_448, "6ca9667da1ca9e0b0f75e46bb030f7e011f44f86cbfb8d5a36590fcd7507b030"
            ),
            "sdxl_models/ip-adapter_sdxl_vit-h.safetensors": Published(
                698_391_064, "ebf05d918348aec7abb02a5e9ecef77e0aaea6914a5c4ea13f50d45eb1681831"
            ),
            "sdxl_models/image_encoder/model.safetensors": Published(
                3_689_912_664, "657723e09f46a7c3957df651601029f66b1748afb12b419816330f16ed45d64d"
            ),
        },
    ),
    Known(
        "stabilityai/stable-diffusion-3-medium-diffusers",
        "Stability AI Community",
        {
            "transformer/diffusion_pytorch_model.safetensors": Published(
                4_170_000_000, "8b0e357dd04755fbfb067c63f4a883ac1de2942dd4a3240069874a17022e5418"
            ),
            "text_encoder_3/model-00001-of-00002.safetensors": Published(
                4_990_000_000, "4f2751ceeb2a96edd693e539dc5d6bba0b8d3814f49a9b3798403a0cec4b2e3d"
            ),
            "text_encoder_3/model-00002-of-00002.safetensors": Published(
                4_530_000_000, "f63154532130422309532ff56f11945fbea8266c958e3133e8e5aef85c6293c7"
            ),
        },
        "stable-diffusion-3",
        "text",
        1024,
    ),
    Known(
        "kandinsky-community/kandinsky-2-2-decoder",
        "Apache-2.0",
        {
            UNET + PLAIN: Published(
                5_012_309_584, "3cc2f07442b9de0f18fb3f22247790872c094c4acc9dbe68552f96fd2e5c1ea1"
            ),
            "movq/diffusion_pytorch_model.safetensors": Published(
                271_380_364, "43a5860fea195a7116f2471396c5cc9535fade9b63c4857d8a192ffd924b7002"
            ),
        },
        "kandinsky-2.2",
        "text, image, dual",
        512,
    ),
    Known(
        "kandinsky-community/kandinsky-2-2-prior",
        "Apache-2.0",
        {
            "prior/diffusion_pytorch_model.safetensors": Published(
                4_104_940_968, "ab139b2df9e40ed0b1eda8dc6270a139a796c5fa3af76cd6b0573f620dca6dde"
            ),
            "image_encoder/model.safetensors": Published(
                3_689_912_664, "657723e09f46a7c3957df651601029f66b1748afb12b419816330f16ed45d64d"
            ),
            TEXT + PLAIN: Published(
                2_778_702_976, "6eaafeea664d7ab87df17274d6114dfdf092c587c7cd56c13cf84aacdebc0332"
            ),
        },
    ),
    Known(
        "madebyollin/taesd",
        "MIT",
        {
            "diffusion_pytorch_model.safetensors": Published(
                9_793_292, "d7956d561b1efbd861ad9b03fd8f01510f9e87eddc07bdfd20837009433f6ee5"
            )
        },
    ),
    Known(
        "madebyollin/taesdxl",
        "MIT",
        {
            "diffusion_pytorch_model.safetensors": Published(
                9_793_292, "0070e0bf1b85d84c836ebb0dc0d8a69200de91aa1a2a726efdb5153e810a27e6"
            )
        },
    ),
)


def known_as(path: str) -> Known | None:
    """What a copy says that it is: by its id, the name of its folder, or that in the hub's cache.

    Args:
        path: A folder, or an id owner/name.
    """
    names = [name.rsplit("--", 1)[-1] for name in Path(path).parts if name.startswith("models--")]
    said = (names or [Path(path).name])[-1].casefold()
    return next((each for each in KNOWN if each.path.split("/")[1].casefold() == said), None)


def check_published(
    path: str,
    folder: Path,
    key: str,
    variant: str | None = None,
    only: Sequence[str] | None = None,
) -> None:
    """Refuses a copy of a known generator whose weights are not the published ones.

    Args:
        path: As the parameters name it.
        folder: Where it lies.
        key: The parameter that names it.
        variant: Of the weights' files that are loaded, where there are such.
        only: The files that are loaded; None is all that are there.

    Raises:
        InputError: A file has name and size of a published one, but another content.
    """
    known = known_as(path)
    if known is None:
        return
    files = {
        name: folder / name
        for name in _loaded(known, folder, variant)
        if only is None or name in only
    }
    alike = {
        name: file
        for name, file in files.items()
        if f"{file.stat().st_size:.2e}" == f"{known.files[name].size:.2e}"
    }
    if (size := sum(file.stat().st_size for file in alike.values())) > LONG:
        logger.info("comparing %.1f GB of %s with what was published", size / 1e9, path)
    for name, file in alike.items():
        status = file.stat()
        found = _digest(file, status.st_size, status.st_mtime_ns)
        if found != (wanted := known.files[name].sha256):
            raise Folder(file, key).wrong(
                f"has name and size of {name} of {known.path}, but sha256 {found[:12]}... in place"
                f" of {wanted[:12]}...: a damaged or altered copy",
                "bring it anew, or, if these weights were trained further on purpose, give their"
                " folder a name of its own",
            )


def _loaded(known: Known, folder: Path, variant: str | None) -> Iterator[str]:
    """The files with a published digest that are there and that are loaded."""
    for name in known.files:
        plain = re.sub(r"\.\w+(\.safetensors)$", r"\1", name)
        other = None if variant is None else f".{variant}.safetensors"
        of_variant = other is not None and name.endswith(other)
        if plain != name and not of_variant:
            continue
        if plain == name and other and (folder / name.replace(".safetensors", other)).is_file():
            continue
        if (folder / name).is_file():
            yield name


@cache
def _digest(file: Path, size: int, changed_ns: int) -> str:
    """Reads a file once for as long as it stays as it is."""
    return sha256_file(file)
