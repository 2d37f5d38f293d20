"""A judge that reads: CLIP says which text fits an image, without having learnt the classes.

It is a whole CLIP model of transformers, or a generator that has both halves of one: a vision
tower and a text encoder that project into one space. Whether the two belong together their
configurations do not tell; what the judge recognises of real validation images does.

B images, K classes, P texts of a class, D numbers of an embedding.

Source: Radford et al. (2021), https://arxiv.org/abs/2103.00020 (a mean of several texts a class)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgds_core.data.cells import names_group
from fgds_core.generators.config import GeneratorConfig
from fgds_core.judge.config import JudgeConfig
from fgds_core.judge.kinds import Kind
from fgds_core.judge.record import JudgeRecord
from fgds_core.pretrained.clip import (
    PROCESSOR,
    TEXT_ENCODER,
    TOKENIZER,
    TOWER,
    WEIGHTS,
    check_processor,
    check_tokenizer,
)
from fgds_core.pretrained.component import Component, check_component
from fgds_core.pretrained.folder import Folder, check_place, inner, is_folder, read, readable

if TYPE_CHECKING:
    from torch import Tensor

    from fgds_core.judge.kinds import See

    Embed = Callable[[Any], Tensor]
    """Pixels or tokens as a half of CLIP takes them -> embeddings, [B, D]."""

KEY = "judge.path"

ELSE = "set judge.kind to cross_fitted and judge.path to null, which trains one for these data"

REMEDY = f"name the folder or hub id of a CLIP model of transformers, or {ELSE}"

WHOLE = Component("transformers", ("CLIPModel",), weights=WEIGHTS)

PROJECTED = "CLIPTextModelWithProjection"
"""A text encoder whose embeddings can be compared with those of images."""

LOGIT_SCALE = 100.0
"""What all published CLIP models multiply cosines with, for halves that do not tell."""

TEXTS = 256  # embedded together


@dataclass(frozen=True)
class Parts:
    """Where the parts of a CLIP model lie below a folder; all in the folder itself if it is whole.

    Attributes:
        tower: Its vision half.
        processor: What prepares images for that.
        encoder: Its text half.
        tokenizer: What makes tokens of a text.
    """

    tower: str = "."
    processor: str = "."
    encoder: str = "."
    tokenizer: str = "."

    @property
    def is_whole(self) -> bool:
        """Whether both halves are one model."""
        return self.tower == self.encoder


HALVES = (
    Parts("image_encoder", "feature_extractor", "text_encoder", "tokenizer"),
    Parts("image_encoder", "image_processor", "text_encoder", "tokenizer"),
    Parts("image_encoder", "feature_extractor", "text_encoder_2", "tokenizer_2"),
)
"""Where generators have their halves."""


def parts_of(place: Folder) -> Parts:
    """Finds a CLIP model in a folder, and checks its configurations and the heads of its weights.

    Raises:
        InputError: There is none.
    """
    with readable(place):
        if (place / "config.json").path.is_file():
            parts = Parts()
            if read(place, "config.json").get("model_type") != "clip":
                raise (place / "config.json").wrong("is no configuration of a CLIP model")
            tower = encoder = check_component(place, WHOLE)
        else:
            parts = _halves(place)
            tower = check_component(place / parts.tower, TOWER)
            encoder = check_component(place / parts.encoder, TEXT_ENCODER)
        processor, tokenizer = place / parts.processor, place / parts.tokenizer
        check_processor(processor, check_component(processor, PROCESSOR), tower)
        says = check_component(tokenizer, TOKENIZER)
        check_tokenizer(tokenizer, says, encoder, f"{parts.encoder}/config.json")
    sides = [
        inner(config, key).get("projection_dim", 512)
        for config, key in ((tower, "vision_config"), (encoder, "text_config"))
    ]
    if not parts.is_whole and sides[0] != sides[1]:
        raise place.wrong(
            f"has no two halves of one CLIP model: {parts.tower} gives {sides[0]} numbers,"
            f" {parts.encoder} {sides[1]}"
        )
    return parts


def _halves(place: Folder) -> Parts:
    for parts in HALVES:
        if all((place / name).path.is_dir() for name in vars(parts).values()):
            config = read(place / parts.encoder, "config.json")
            if PROJECTED in (config.get("architectures") or ()):
                return parts
    raise place.wrong(
        "has no CLIP model whose images and texts can be compared: neither a whole one, nor a"
        f" vision tower and a text encoder that projects ({PROJECTED})"
    )


def check(config: JudgeConfig, generator: GeneratorConfig, names: Sequence[str] | None) -> None:
    """Refuses a folder without both halves of a CLIP model; loads nothing."""
    path, _, key = _where(config, generator)
    if config.path is not None and not check_place(path, key):
        return  # of the hub: known when it is loaded
    if is_folder(path):
        parts_of(Folder(Path(path), key, REMEDY))


def _where(config: JudgeConfig, generator: GeneratorConfig) -> tuple[str, str | None, str]:
    """Path, revision and the keys that name them; of a generator with a prior that has both."""
    if config.path is not None:
        return config.path, None, KEY
    if generator.prior is not None:
        prior = generator.prior
        return prior.path, prior.revision, f"{KEY}: null is generator.prior.path"
    return generator.path, generator.revision, f"{KEY}: null is generator.path"


def _who(
    config: JudgeConfig,
    generator: GeneratorConfig,
    class_names: Sequence[str],
    groups: Sequence[str],
) -> JudgeRecord:
    path, revision, _ = _where(config, generator)
    return JudgeRecord(
        config.kind,
        path,
        tuple(class_names),
        revision=revision,
        prompts=tuple(generator.prompts),
        groups=tuple(groups) if names_group(generator.prompts) else (),
    )


def texts(record: JudgeRecord, class_name: str) -> list[str]:
    """What is said of a class: each prompt, and each for every group where it names one."""
    spoken = class_name.replace("_", " ")
    groups = [group.replace("_", " ") for group in record.groups] or [""]
    said = (
        prompt.format(**{"class": spoken, "group": group})
        for prompt in record.prompts
        for group in groups
    )
    return list(dict.fromkeys(said))


def _load(folder: Path, record: JudgeRecord, device: str) -> See:
    import torch
    from transformers import CLIPImageProcessor, CLIPTokenizer

    from fgds_core.pretrained.load import fetch, load_other, weights_of
    from fgds_core.pretrained.vision import preprocess

    places = dict.fromkeys(name for parts in (Parts(), *HALVES) for name in vars(parts).values())
    wanted = [
        pattern
        for name in places
        for pattern in (
            *weights_of(WEIGHTS, "" if name == "." else name),
            "merges.txt" if name == "." else f"{name}/merges.txt",
        )
    ]
    place = Folder(fetch(str(record.path), record.revision, wanted, KEY), KEY, REMEDY)
    parts = parts_of(place)
    of_images, of_texts, scale = _networks(place, parts, device)
    prepared = preprocess(
        load_other(CLIPImageProcessor.from_pretrained, place / parts.processor), device
    )
    tokenizer = load_other(CLIPTokenizer.from_pretrained, place / parts.tokenizer)

    def said(lines: Sequence[str]) -> Tensor:
        """Unit embeddings of some texts, [P, D]."""
        tokens = tokenizer(
            list(lines),
            padding="max_length",
            truncation=True,
            max_length=tokenizer.model_max_length,
            return_tensors="pt",
        )
        return torch.nn.functional.normalize(of_texts(tokens.input_ids.to(device)), dim=-1)

    with torch.inference_mode():
        means = [
            torch.cat([said(chunk) for chunk in _chunks(texts(record, name))]).mean(dim=0)
            for name in record.class_names
        ]
        classes = torch.nn.functional.normalize(torch.stack(means), dim=-1)  # [K, D]

    def see(x: Tensor, without: Tensor | None) -> Tensor:
        images = torch.nn.functional.normalize(of_images(prepared(x)), dim=-1)  # [B, D]
        return (scale * images @ classes.T).softmax(dim=-1)  # [B, K]

    return see


def _networks(place: Folder, parts: Parts, device: str) -> tuple[Embed, Embed, float]:
    """Both halves, and what their cosines are multiplied with."""
    import torch
    from transformers import (
        CLIPModel,
        CLIPTextModelWithProjection,
        CLIPVisionModelWithProjection,
    )

    from fgds_core.pretrained.load import load_network

    def loaded(kind: Any, where: str) -> Any:  # noqa: ANN401
        network = load_network(kind.from_pretrained, place / where, torch.float32)
        return network.to(device).eval()

    if parts.is_whole:
        model = loaded(CLIPModel, ".")
        return (
            lambda pixels: model.visual_projection(model.vision_model(pixels).pooler_output),
            lambda tokens: model.text_projection(model.text_model(tokens).pooler_output),
            model.logit_scale.exp().item(),
        )
    tower = loaded(CLIPVisionModelWithProjection, parts.tower)
    encoder = loaded(CLIPTextModelWithProjection, parts.encoder)
    return (
        lambda pixels: tower(pixels).image_embeds,
        lambda tokens: encoder(tokens).text_embeds,
        LOGIT_SCALE,
    )


def _chunks(lines: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(lines), TEXTS):
        yield lines[start : start + TEXTS]


KIND = Kind(check, _who, _load)
