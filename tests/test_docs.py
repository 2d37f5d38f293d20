"""What the documents tell people to write is what the pipeline reads."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from micro import ROOT
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from fgds_core.classify.metrics import measure
from fgds_core.data.meta import Meta
from flows.cli.keys import keys
from flows.cli.params import SECTIONS, read_params, section_type

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def without_examples(path: Path) -> str:
    """A text without its examples of code: tests/test_examples.py says whether they fit."""
    return re.sub(r"^```(python|diff)\n.*?^```$", "", path.read_text(), flags=re.M | re.S)


def blocks() -> list[tuple[str, dict]]:
    """The YAML blocks of all documents; `...` stands for what is as in params.yaml."""
    found = []
    for path in DOCUMENTS:
        for text in re.findall(r"```yaml\n(.*?)```", path.read_text(), re.S):
            tree = YAML(typ="safe", pure=True).load(text.replace(", ...}", "}"))
            found.append((path.name, tree))
    return found


@pytest.mark.parametrize(("name", "tree"), blocks())
def test_documented_parameters_are_parameters(name: str, tree: dict) -> None:
    params = read_params(ROOT / "params.yaml")
    for section in SECTIONS.keys() & tree.keys() - {"seed"}:
        given = tree[section]
        others = {} if "kind" in given and section == "data" else params[section].model_dump()
        TypeAdapter(section_type(SECTIONS[section])).validate_python(others | given)


KEYS = re.compile(rf"(?<![\w./-])(?:{'|'.join(SECTIONS)})(?:\.[a-z_]+)+(?![\w/(])")


def test_parameters_that_documents_name_are_parameters() -> None:
    known = {key.path for section in SECTIONS for key in keys(section)}
    for path in DOCUMENTS:
        for key in KEYS.findall(without_examples(path)):
            is_file = key.endswith((".json", ".csv", ".html", ".parquet", ".py", ".yaml", ".md"))
            assert key in known or is_file, f"{path.name} names {key}"


def table(name: str, heading: str) -> list[list[list[str]]]:
    """What stands between backticks in each cell of the first table below a heading."""
    text = (ROOT / "docs" / name).read_text()
    below = re.split(rf"^#+ {heading}\n", text, flags=re.M)[1]
    _, _, body = re.search(r"^(\|.*\n)(\|[-|]+\|\n)((?:\|.*\n)+)", below, re.M).groups()
    return [
        [re.findall(r"`([^`]+)`", cell) for cell in row.split("|")[1:-1]]
        for row in body.splitlines()
    ]


def test_the_table_of_outputs_is_that_of_dvc() -> None:
    stages = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
    owned = {
        name: sorted(
            out if isinstance(out, str) else next(iter(out))
            for kind in ("outs", "metrics")
            for out in stage.get(kind, [])
        )
        for name, stage in stages.items()
    }
    documented = table("outputs.md", "What the stages leave behind")
    assert {stage[0]: sorted(outs) for stage, outs in documented} == owned


def test_the_entries_of_the_json_files_are_documented() -> None:
    entries = [name for names, _ in table("outputs.md", "Images") for name in names]
    assert sorted(entries) == sorted(each.name for each in fields(Meta))
    measures = [
        name for names, _ in table("outputs.md", "Measures of the classifiers") for name in names
    ]
    label = torch.tensor([0])
    found = measure(torch.tensor([1.0]), label, label, ["cat"], {"cat": "few"}, seed=0)
    assert sorted(measures) == sorted(found)


PLACES = re.compile(
    r"(?<![/\w])(?:fgds_core|tasks|flows|benchmarks|assets|tests|docs|recipes)(?:/[\w.-]*\w)+"
)
MODULES = re.compile(r"\b(?:fgds_core|tasks|flows|benchmarks)(?:\.[a-z_0-9]+)+\b(?![/*])")
TEXTS = [
    *(ROOT / name for name in ("README.md", "Makefile", "params.yaml", "prefect.yaml")),
    *(ROOT / "docs").iterdir(),
    *(
        path
        for folder in ("fgds_core", "tasks", "flows", "benchmarks", "assets")
        for path in (ROOT / folder).rglob("*")
    ),
]


def test_files_and_modules_that_are_named_are_there() -> None:
    for path in TEXTS:
        if path.is_file() and path.suffix in ("", ".md", ".py", ".yaml"):
            text = without_examples(path)
            for place in PLACES.findall(text):
                assert list(ROOT.glob(f"{place}*")), f"{path} names {place}"
            for module in MODULES.findall(text):
                assert is_there(module), f"{path} names {module}"


def is_there(module: str) -> bool:
    """Whether a dotted name is that of a module or folder, or of something within a module."""
    place = ROOT
    for part in module.split("."):
        place /= part
        if place.with_suffix(".py").is_file():
            return True
        if not place.is_dir():
            return part in ("py", "md")
    return True


def test_links_between_documents_lead_somewhere() -> None:
    for path in DOCUMENTS:
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
