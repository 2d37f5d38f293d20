"""What the documents tell people to write is what the pipeline reads."""

import json
import re

import pytest
from micro import ROOT
from ruamel.yaml import YAML

from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig
from flows.cli.params import SECTIONS, read_params


def blocks() -> list[tuple[str, dict]]:
    """The YAML blocks of all documents; `...` stands for what is as in params.yaml."""
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for text in re.findall(r"```yaml\n(.*?)```", path.read_text(), re.S):
            tree = YAML(typ="safe", pure=True).load(text.replace(", ...}", "}"))
            found.append((path.name, tree))
    return found


@pytest.mark.parametrize(("name", "tree"), blocks())
def test_documented_parameters_are_parameters(name: str, tree: dict) -> None:
    params = read_params(ROOT / "params.yaml")
    models = {"generator": GeneratorConfig, "synthesize": SynthesizeConfig}
    for section, values in tree.items():
        if section in models:
            known = params[section].model_dump()
            models[section].model_validate(known | values)
        elif section in SECTIONS:
            assert isinstance(values, dict)


def test_links_between_documents_lead_somewhere() -> None:
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_the_table_of_faults_is_what_was_measured() -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "faults.json").read_text())
    text = (ROOT / "docs" / "reliability.md").read_text()
    for row in rows:
        survived = {True: "yes", False: "no", None: "not run"}[row.pop("survived")]
        case, *numbers = row.values()
        cells = ["none" if number is None else str(number) for number in numbers]
        assert f"| {' | '.join([case, survived, *cells])} |" in text
