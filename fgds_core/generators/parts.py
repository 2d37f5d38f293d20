"""Brings and loads the components of a pipeline, one by one; safetensors only."""

from collections.abc import Mapping
from pathlib import Path

import torch

from fgds_core.generators.family import Component
from fgds_core.generators.folders import check_index, parts_of
from fgds_core.generators.layout import Layout
from fgds_core.pretrained.component import variant_there
from fgds_core.pretrained.folder import Config, Folder, check_place, read
from fgds_core.pretrained.load import class_of, fetch, load_network, load_other, weights_of


def bring(
    path: str,
    revision: str | None,
    variant: str | None,
    *,
    layouts: Mapping[str, Layout],
    key: str,
    asked: str,
) -> Path:
    """The folder of a pipeline; what is on the hub is brought here, without its pickles.

    Args:
        path: A folder, or an id on the hub.
        revision: Of an id.
        variant: Of the weights' files, where there are such.
        layouts: What its pipelines may consist of.
        key: The parameter that names it.
        asked: What needs one of these pipelines, for messages.

    Raises:
        InputError: It is neither, the hub does not give it, or it is of another kind.
    """
    if check_place(path, key):
        return Path(path)
    place = Folder(Path(path), key)
    index_file = fetch(path, revision, ["model_index.json"], key)
    index = read(Folder(index_file, key), "model_index.json")
    parts = parts_of(layouts[check_index(place, layouts, asked, index)], index)
    stems = {part: of.weights for part, of in parts.items() if of.weights is not None}
    files = ["model_index.json"]
    for part in parts:
        files += [f"{part}/*.json", f"{part}/merges.txt", f"{part}/spiece.model"]
    files += [file for part, stem in stems.items() for file in weights_of(stem, part, variant)]
    folder = Folder(fetch(path, revision, files, key), key)
    if variant is not None:  # where a component has none, its plain weights are taken
        plain = [part for part in stems if variant_there(folder / part, variant) is None]
        files += [file for part in plain for file in weights_of(stems[part], part)]
        fetch(path, revision, files, key)
    return folder.path


def load_parts(
    place: Folder, layout: Layout, index: Config, variant: str | None, dtype: torch.dtype
) -> dict[str, Component]:
    """Loads the components of a pipeline that has been checked.

    Args:
        place: Its folder.
        layout: What it consists of.
        index: Its `model_index.json`.
        variant: Of the weights' files, where there are such.
        dtype: What its weights become.

    Returns:
        Each component by name; None where an optional one is not there.
    """
    parts = parts_of(layout, index)
    loaded: dict[str, Component] = dict.fromkeys({**layout.components, **layout.optional})
    for part, component in parts.items():
        load = class_of(component.library, str(index[part][1])).from_pretrained
        if component.weights is None:
            loaded[part] = load_other(load, place / part)
        else:
            found = variant_there(place / part, variant)
            loaded[part] = load_network(load, place / part, dtype, found)
    return loaded
