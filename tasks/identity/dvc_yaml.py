"""Reads and writes `dvc.yaml` with its comments and layout."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

DVC_YAML = Path("dvc.yaml")


def read_pipeline() -> Any:  # noqa: ANN401
    """What `dvc.yaml` holds; to be changed in place and given to `write_pipeline`."""
    return _yaml().load(DVC_YAML.read_text(encoding="utf-8"))


def write_pipeline(pipeline: Any) -> None:  # noqa: ANN401
    """Puts the pipeline in the place of `dvc.yaml` when it is whole."""
    part = DVC_YAML.with_name(DVC_YAML.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        _yaml().dump(pipeline, file)
    part.replace(DVC_YAML)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 120
    return yaml
