"""The tokenizers of a generator alone, for what its text encoders can read."""

from typing import Any

from fgds_core.generators.config import GeneratorConfig
from fgds_core.generators.folders import is_there
from fgds_core.pretrained.folder import Folder, read
from fgds_core.pretrained.load import class_of, fetch, load_other

PARTS = ("tokenizer", "tokenizer_2", "tokenizer_3")

KEY = "generator.path"


def load_tokenizers(config: GeneratorConfig) -> list[Any]:
    """Loads the tokenizers of a generator's text encoders; none where it has no text encoder.

    Raises:
        InputError: One cannot be made from its files.
    """
    below = ("*.json", "merges.txt", "spiece.model")
    files = [f"{part}/{name}" for part in PARTS for name in below]
    folder = Folder(fetch(config.path, config.revision, ["model_index.json", *files], KEY), KEY)
    index = read(folder, "model_index.json")
    return [
        load_other(class_of("transformers", str(index[part][1])).from_pretrained, folder / part)
        for part in PARTS
        if is_there(index, part)
    ]
