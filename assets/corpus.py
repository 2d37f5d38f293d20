"""The corpus that the embedded generator learns from: the same garments in many renderings.

It is built from the Fashion-MNIST training images that are in no split of Fashion-LT. Like web
data it is broader than the target: besides the target look (white garment on black) it holds
inverted, coloured and textured garments, coloured and patterned backgrounds, moved and flipped
ones, and its captions often do not say which.

Legend: N images, H = W = 32 pixels.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from assets.fashion_lt import CLASS_NAMES, SPLITS, content_hash, first_of_each, read_source

SIZE = 32
HELD_OUT_PER_CLASS = 200
CONTEXTS = ("target", "inverted", "coloured", "textured", "background", "scene")
# Shares of the contexts when renderings are drawn at random.
CONTEXT_SHARES = (0.35, 0.10, 0.15, 0.10, 0.15, 0.15)
COLOURS = {
    "white": (1.0, 1.0, 1.0),
    "red": (1.0, 0.25, 0.2),
    "green": (0.2, 0.85, 0.3),
    "blue": (0.3, 0.45, 1.0),
    "yellow": (1.0, 0.9, 0.2),
    "purple": (0.75, 0.35, 0.95),
}
TEXTURES = ("striped", "checked", "dotted")
BACKGROUND_PATTERNS = ("gradient", "striped", "checked")
GENERIC = ("a photo of a {class}", "a photo of a {class}", "a photo of a {class}", "a {class}")
GENERIC_SHARE = 0.65  # captions that do not tell the rendering


@dataclass(frozen=True)
class Corpus:
    """The garments, before rendering."""

    images: Tensor  # uint8 [N, 32, 32], the target look's grey values
    labels: Tensor  # int64 [N]
    held_out: Tensor  # bool [N], never trained on


@dataclass(frozen=True)
class Look:
    """How a garment is rendered, in the words of the captions; "" is none."""

    context: str  # of CONTEXTS
    garment: str  # its colour
    texture: str
    ground: str  # colour of the background
    pattern: str  # of the background


@dataclass(frozen=True)
class Renderings:
    """Rendered pictures."""

    images: Tensor  # uint8 [N, 3, 32, 32]
    captions: list[str]
    contexts: Tensor  # int64 [N], indices into CONTEXTS


def resize(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """28x28 to 32x32 as the pipeline's `prepare` does it: Pillow's antialiased bicubic."""
    return np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def appearance_hash(image: NDArray[np.uint8]) -> str:
    """Hash that equal pictures share, also mirrored or inverted ones.

    Args:
        image: Grey image, [28, 28].

    Returns:
        The smallest content hash among the picture, its mirror image and their negatives.
    """
    variants = (image, image[:, ::-1])
    return min(content_hash(v) for w in variants for v in (w, 255 - w))


def fashion_lt_hashes(folder: Path) -> set[str]:
    """Appearance hashes of every image of Fashion-LT.

    Args:
        folder: Folder of its three Parquet files.

    Returns:
        The hashes of train, validation and test together.
    """
    hashes = set()
    for split in SPLITS:
        for row in pq.read_table(folder / f"{split}.parquet", columns=["image"])["image"]:
            with Image.open(io.BytesIO(row["bytes"].as_py())) as picture:
                hashes.add(appearance_hash(np.asarray(picture)))
    return hashes


def free_garments(
    images: NDArray[np.uint8], labels: NDArray[np.int64], fashion_lt: Path, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The official training pictures that are not in Fashion-LT, and which are set apart.

    Args:
        images: All of them, [60000, 28, 28].
        labels: Their classes, [60000].
        fashion_lt: Folder of Fashion-LT, whose pictures are left out.
        seed: Decides which garments are held out.

    Returns:
        Indices into `images`, [N], and which of these are held out, [N].
    """
    excluded = fashion_lt_hashes(fashion_lt)
    free = first_of_each(images, set())
    free = free[[appearance_hash(images[i]) not in excluded for i in free]]
    corpus_hashes = {appearance_hash(images[i]) for i in free}
    assert not corpus_hashes & excluded, "corpus and Fashion-LT must be disjoint"

    rng = np.random.default_rng(seed)
    held_out = np.zeros(len(free), dtype=bool)
    for label in range(len(CLASS_NAMES)):
        members = np.flatnonzero(labels[free] == label)
        held_out[rng.choice(members, HELD_OUT_PER_CLASS, replace=False)] = True
    return free, held_out


def load_corpus(source: Path, fashion_lt: Path, seed: int = 0) -> Corpus:
    """Reads the garments that are not in Fashion-LT and sets some apart.

    Args:
        source: Folder of Fashion-MNIST's `idx` files.
        fashion_lt: Folder of Fashion-LT, whose pictures are left out.
        seed: Decides which garments are held out.

    Returns:
        The corpus.
    """
    images, labels = read_source(source, "train")
    free, held_out = free_garments(images, labels, fashion_lt, seed)
    resized = np.stack([resize(images[i]) for i in free])  # [N, 32, 32]
    return Corpus(
        torch.from_numpy(resized), torch.from_numpy(labels[free]), torch.from_numpy(held_out)
    )


def as_target(images: Tensor) -> Tensor:
    """The target look: grey as RGB, [N, 32, 32] to [N, 3, 32, 32]."""
    return images[:, None].expand(-1, 3, -1, -1).contiguous()


def in_target_look(x: Tensor) -> Tensor:
    """Whether pictures in [-1, 1], [N, 3, H, W], are grey on a black border, bool [N]."""
    border = torch.cat([x[..., 0], x[..., -1]], dim=-1).mean(dim=(1, 2))  # left and right edge
    chroma = (x.amax(dim=1) - x.amin(dim=1)).mean(dim=(1, 2))
    return (border < -0.6) & (chroma < 0.15)


def garment_masks(grey: Tensor) -> Tensor:
    """Soft masks of the garments: what is not black, with small dark holes closed.

    Args:
        grey: Values in [0, 1], [N, 1, 32, 32].

    Returns:
        Masks in [0, 1], [N, 1, 32, 32].
    """
    solid = (grey > 0.06).float()
    closed = -F.max_pool2d(-F.max_pool2d(solid, 5, 1, 2), 5, 1, 2)
    return torch.maximum(F.avg_pool2d(closed, 3, 1, 1) * closed, (4 * grey).clamp(max=1))


def patterns(kinds: list[str], rng: np.random.Generator) -> Tensor:
    """Brightness patterns in [0, 1], [N, 1, 32, 32]; "" is constant 1.

    Args:
        kinds: A texture, a background pattern or "" for each image.
        rng: Draws phase and direction.

    Returns:
        The patterns.
    """
    yy, xx = np.mgrid[:SIZE, :SIZE]
    made = []
    for kind in kinds:
        phase = rng.integers(6)
        along = xx if rng.random() < 0.5 else yy
        stripes = ((along + phase) // 3) % 2
        if kind == "striped":
            pattern = stripes
        elif kind == "checked":
            pattern = ((xx + phase) // 4 + (yy + phase) // 4) % 2
        elif kind == "dotted":
            pattern = 1 - ((xx + phase) % 4 < 2) * ((yy + phase) % 4 < 2)
        elif kind == "gradient":
            pattern = along / (SIZE - 1) if rng.random() < 0.5 else 1 - along / (SIZE - 1)
        else:
            pattern = np.ones_like(xx)
        made.append(pattern)
    return torch.from_numpy(np.stack(made)).float()[:, None]  # [N, 1, 32, 32]


def move(images: Tensor, moved: Tensor, rng: np.random.Generator) -> Tensor:
    """Resizes, shifts and flips some garments on their black ground.

    Args:
        images: Values in [0, 1], [N, 1, 32, 32].
        moved: Which ones, bool [N].
        rng: Draws scale 0.7 to 1.05, shift up to 3 pixels, flip.

    Returns:
        Same shape.
    """
    num_images = len(images)
    zoom = torch.from_numpy(1 / rng.uniform(0.7, 1.05, num_images)).float()
    flip = torch.from_numpy(1 - 2 * (rng.random(num_images) < 0.5)).float()
    shift = torch.from_numpy(rng.uniform(-3, 3, (num_images, 2)) * 2 / SIZE).float()
    theta = torch.zeros(num_images, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = zoom * flip, zoom, shift
    grid = F.affine_grid(theta, [num_images, 1, SIZE, SIZE], align_corners=False)
    warped = F.grid_sample(images, grid, align_corners=False)
    return torch.where(moved[:, None, None, None], warped, images)


def describe(
    name: str, garment: str, texture: str, background: str, pattern: str, rng: np.random.Generator
) -> str:
    """A caption that tells the rendering, or parts of it."""
    words = ["a"]
    words += [garment] if garment and rng.random() < 0.8 else []
    words += [texture] if texture else []
    words += [name]
    if rng.random() < 0.8:
        words += ["on a", background, pattern, "background"]
    return " ".join(word for word in words if word)


def draw_look(context: str, rng: np.random.Generator) -> Look:
    """A look of a context, one of CONTEXTS."""
    colours = list(COLOURS)
    tinted = colours[rng.integers(1, len(colours))]
    garment = {"coloured": tinted, "target": "white", "inverted": "black"}.get(
        context, colours[rng.integers(len(colours))]
    )
    texture = TEXTURES[rng.integers(len(TEXTURES))] if context == "textured" else ""
    ground, pattern = "black", ""
    if context == "inverted":
        ground = "white"
    elif context in ("background", "scene"):
        others = [c for c in colours if c != garment]
        ground = others[rng.integers(len(others))]
        if context == "scene":
            pattern = BACKGROUND_PATTERNS[rng.integers(len(BACKGROUND_PATTERNS))]
    return Look(context, garment, texture, ground, pattern)


def render(
    images: Tensor, labels: Tensor, contexts: Tensor, rng: np.random.Generator
) -> Renderings:
    """Renders garments in the named contexts and writes captions.

    Args:
        images: Grey garments, uint8 [N, 32, 32].
        labels: Their classes, [N].
        contexts: Indices into CONTEXTS, [N].
        rng: The only source of randomness.

    Returns:
        Pictures and captions. A "target" one is the garment itself, grey as RGB.
    """
    looks, captions = [], []
    for context, label in zip(contexts.tolist(), labels.tolist(), strict=True):
        look = draw_look(CONTEXTS[context], rng)
        name = CLASS_NAMES[label]
        if rng.random() < GENERIC_SHARE:
            caption = GENERIC[rng.integers(len(GENERIC))].replace("{class}", name)
        else:
            caption = describe(name, look.garment, look.texture, look.ground, look.pattern, rng)
        looks.append(look)
        captions.append(caption)
    return Renderings(paint(images, looks, rng), captions, contexts)


def paint(images: Tensor, looks: list[Look], rng: np.random.Generator) -> Tensor:
    """Paints garments as they shall look, most of those in front of black or a colour moved.

    Args:
        images: Grey garments, uint8 [N, 32, 32].
        looks: How each is rendered, N of them.
        rng: Draws which ones are moved and how, and the phases of the patterns.

    Returns:
        Pictures, uint8 [N, 3, 32, 32].
    """
    num_images = len(looks)
    inverted = torch.tensor([look.context == "inverted" for look in looks])
    free = torch.tensor([look.context not in ("target", "inverted") for look in looks])
    moved = free & torch.from_numpy(rng.random(num_images) < 0.6)
    grey = images[:, None].float() / 255  # [N, 1, 32, 32]
    placed = move(grey, moved, rng)
    masks = garment_masks(placed)
    dyes = torch.tensor([COLOURS.get(look.garment, COLOURS["white"]) for look in looks])
    texture_light = 0.35 + 0.65 * patterns([look.texture for look in looks], rng)
    cloth = placed * texture_light * dyes[:, :, None, None]  # [N, 3, 32, 32]
    ground_light = 0.25 + 0.6 * patterns([look.pattern for look in looks], rng)
    paints = torch.tensor([COLOURS.get(look.ground, (0.0, 0.0, 0.0)) for look in looks])
    ground_rgb = paints[:, :, None, None] * ground_light
    pictures = cloth + (1 - masks) * ground_rgb
    pictures = torch.where(inverted[:, None, None, None], 1 - grey, pictures)
    pictures = (pictures.clamp(0, 1) * 255).round().to(torch.uint8)
    is_target = torch.tensor([look.context == "target" for look in looks])
    return torch.where(is_target[:, None, None, None], as_target(images), pictures)


def draw_contexts(num_images: int, rng: np.random.Generator) -> Tensor:
    """Contexts in their shares of the corpus, [N]."""
    return torch.from_numpy(rng.choice(len(CONTEXTS), num_images, p=CONTEXT_SHARES))
