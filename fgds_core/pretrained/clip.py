"""CLIP: its text encoders with their tokenizers, its vision towers with their preprocessing."""

from fgds_core.pretrained.component import Component
from fgds_core.pretrained.folder import REMEDY, Config, Folder, inner, is_number, read, short

WEIGHTS = "model"
"""How the names of weights' files of transformers begin."""

TOWER = Component("transformers", ("CLIPVisionModelWithProjection",), weights=WEIGHTS)

PROCESSOR = Component(
    "transformers",
    ("CLIPImageProcessor", "CLIPFeatureExtractor", "CLIPImageProcessorFast"),
    "preprocessor_config.json",
)

TOKENIZER = Component(
    "transformers", ("CLIPTokenizer", "CLIPTokenizerFast"), "tokenizer_config.json"
)

TEXT_ENCODER = Component(
    "transformers", ("CLIPTextModel", "CLIPTextModelWithProjection"), weights=WEIGHTS
)


def check_tokenizer(place: Folder, config: Config, encoder: Config, encoder_file: str) -> None:
    """Checks that a CLIP tokenizer and a text encoder belong together.

    Args:
        place: The tokenizer's folder.
        config: Its configuration.
        encoder: The text encoder's configuration.
        encoder_file: Where that is, for messages.
    """
    file = place / TOKENIZER.config
    encoder = inner(encoder, "text_config")
    positions = encoder.get("max_position_embeddings", 77)
    length = config.get("model_max_length")
    if type(length) is not int or type(positions) is not int or not 3 <= length <= positions:
        raise file.wrong(
            f"says model_max_length {short(length)}, {encoder_file} max_position_embeddings"
            f" {short(positions)}",
            f"write the number of tokens of the text encoder, such as {short(positions)}, there",
        )
    stated = config.get("tokenizer_class")
    if stated is not None and stated not in TOKENIZER.classes:
        raise file.wrong(
            f"says tokenizer_class {short(stated)}, not {' or '.join(TOKENIZER.classes)}"
        )
    size = encoder.get("vocab_size", 49408)
    known = _vocabulary(place)
    largest = max(known.values(), default=-1)
    if type(size) is not int or largest >= size:
        raise place.wrong(
            f"knows tokens up to number {largest}, {encoder_file} says vocab_size {short(size)}",
            "the two are of different models: " + REMEDY,
        )
    _check_rules(place)
    special = {**_special(place), **config}
    for role in ("bos_token", "eos_token", "unk_token", "pad_token"):
        token = special.get(role, "")  # the class has one where there is none
        token = token.get("content") if isinstance(token, dict) else token
        if not isinstance(token, str) or (token and token not in known):
            raise file.wrong(
                f"says {role} {short(token)}, which its vocabulary does not have",
                "name a token that it has, such as <|endoftext|>",
            )


def _vocabulary(place: Folder) -> dict[str, int]:
    """Number of each token of a CLIP tokenizer, added ones too."""
    if (place / "tokenizer.json").path.is_file():
        file = place / "tokenizer.json"
        whole = read(place, "tokenizer.json")
        model = whole.get("model")
        words = model.get("vocab") if isinstance(model, dict) else None
        added = whole.get("added_tokens") or []
        try:
            more = {token["content"]: token["id"] for token in added}
        except (TypeError, KeyError) as error:
            raise file.wrong("has added_tokens without content or id") from error
    else:
        file = place / "vocab.json"
        if not (place / "merges.txt").path.is_file():
            raise place.wrong("lacks merges.txt (and has no tokenizer.json)")
        words, more = read(place, "vocab.json"), {}
    if (place / "added_tokens.json").path.is_file():
        more = {**more, **read(place, "added_tokens.json")}
    if not isinstance(words, dict) or not words:
        raise file.wrong("holds no vocabulary of a CLIP tokenizer")
    known = {**words, **more}
    if not all(type(number) is int and number >= 0 for number in known.values()):
        raise file.wrong("gives tokens numbers that are no whole numbers from 0")
    return known


def _check_rules(place: Folder) -> None:
    """Refuses rules of a tokenizer that the library that follows them cannot read."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    name = "tokenizer.json" if (place / "tokenizer.json").path.is_file() else "merges.txt"
    file = place / name
    try:
        if name == "tokenizer.json":
            Tokenizer.from_file(str(file.path))
        else:
            BPE.from_file(str((place / "vocab.json").path), str(file.path))
    except Exception as error:  # the library knows no other kind
        raise file.wrong(f"holds no rules of a tokenizer ({short(error)})") from error


def _special(place: Folder) -> Config:
    name = "special_tokens_map.json"
    return read(place, name) if (place / name).path.is_file() else {}


def check_processor(place: Folder, config: Config, tower: Config) -> None:
    """Checks that an image processor makes what its CLIP tower takes."""
    file = place / PROCESSOR.config
    tower = inner(tower, "vision_config")
    side = tower.get("image_size", 224)
    crop = config.get("crop_size", 224)
    sides = [crop.get("height"), crop.get("width")] if isinstance(crop, dict) else [crop]
    if type(side) is not int or any(cut != side for cut in sides):
        raise file.wrong(
            f"crops to {short(crop)}, but the image_encoder takes {short(side)} pixels a side",
            f"set crop_size to {short(side)}, or {REMEDY}",
        )
    size = config.get("size", {"shortest_edge": 224})
    shorter = size.get("shortest_edge") if isinstance(size, dict) else size
    if type(shorter) is not int or not side <= shorter <= 100 * side:
        raise file.wrong(f"says size {short(size)}; needed is a shortest_edge of at least {side}")
    for step in ("do_resize", "do_center_crop", "do_rescale", "do_normalize"):
        if config.get(step, True) is not True:
            raise file.wrong(f"says {step} {short(config[step])}, which a CLIP tower needs")
    for name, least in (("image_mean", None), ("image_std", 0.0)):
        values = config.get(name, [0.5] * 3)
        if (
            not isinstance(values, list)
            or len(values) != 3
            or not all(is_number(v) and (least is None or v > least) for v in values)
        ):
            raise file.wrong(f"says {name} {short(values)}, not three numbers")
