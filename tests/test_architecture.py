"""The three layers point one way, and DVC knows exactly the code each stage runs."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from runpy import run_path
from shutil import copytree, ignore_patterns

import pytest
from importlinter.api import read_configuration
from importlinter.cli import lint_imports
from ruamel.yaml import YAML

from flows.cli.arguments import sections_of
from flows.cli.params import SECTIONS, read_params
from flows.closure import is_code
from flows.synth_pipeline import STAGES, stage_flow
from tasks.identity.code import PLUMBING, closure

ROOT = Path(__file__).parent.parent
LAYERS = ("fgds_core", "tasks", "flows")
IMPORTS = ROOT / ".importlinter"
CONTRACTS = [each["id"] for each in read_configuration(str(IMPORTS))["contracts_options"]]


def sources() -> list[str]:
    files = [path for layer in LAYERS for path in (ROOT / layer).rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in files)


def imported_packages(path: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def pipeline() -> dict:
    return YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_contract_between_modules_holds(
    contract: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would silence the loggers of all other tests
    monkeypatch.setattr("logging.config.dictConfig", lambda config: None)
    status = lint_imports(str(IMPORTS), limit_to_contracts=(contract,), no_cache=True)
    assert status == 0, capsys.readouterr().out


BROKEN = {
    "layers": ("fgds_core/errors.py", "import tasks.workers.config"),
    "outside": ("tasks/workers/config.py", "import benchmarks"),
    "wings": ("fgds_core/images/pixels.py", "import fgds_core.data.config"),
    "rooms": ("tasks/identity/code.py", "import tasks.workers.config"),
    "commands": ("flows/cli/keys.py", "import flows.report"),
    "cycles": ("tasks/store/config.py", "import tasks.store.bucket"),
    "orchestration": ("fgds_core/classify/train.py", "import prefect"),
    "parameters": ("fgds_core/section.py", "import torch"),
    "page": ("fgds_core/report/page.py", "import fgds_core.images.pixels"),
    "dvc": ("flows/cli/stage.py", "import dvc.repo"),
    "dvclive": ("tasks/identity/dvc.py", "import dvclive"),
    "store": ("tasks/workers/fanout.py", "import boto3"),
    "cluster": ("tasks/synthesize.py", "import distributed"),
    "classifiers": ("fgds_core/assess/features.py", "import timm"),
    "pipelines": ("fgds_core/synthesis/draw.py", "from diffusers import DDIMScheduler"),
    "updates": ("fgds_core/classify/network.py", "import peft"),
}


def test_each_contract_notices_what_breaks_it(tmp_path: Path) -> None:
    for layer in LAYERS:
        copytree(ROOT / layer, tmp_path / layer, ignore=ignore_patterns("__pycache__"))
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    for path, line in BROKEN.values():
        file = tmp_path / path
        file.write_text(f"{file.read_text()}\n\ndef broken() -> None:\n    {line}\n")
    done = subprocess.run(
        [sys.executable, "-c", NOTICED, str(IMPORTS), *CONTRACTS],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == CONTRACTS
    assert set(BROKEN) == set(CONTRACTS)


def test_the_figure_of_the_house_is_of_this_house() -> None:
    house = run_path(str(ROOT / "docs" / "house.py"))
    assert house["FIGURE"].read_text() == house["figure"](), "run `python docs/house.py`"


NOTICED = """
import json, sys
from importlinter.cli import lint_imports
config, *contracts = sys.argv[1:]
broken = [c for c in contracts if lint_imports(config, limit_to_contracts=(c,), no_cache=True)]
print(json.dumps(broken))
"""


def test_no_function_of_a_task_or_flow_takes_more_than_six_parameters() -> None:
    long = {}
    for path in [path for path in sources() if not path.startswith("fgds_core/")]:
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                names = [each.arg for each in given if each.arg not in ("self", "cls")]
                long |= {f"{path}:{node.name}": names} if len(names) > 6 else {}
    assert long == {}


def test_no_module_holds_what_changes() -> None:
    held = []
    for path in sources():
        tree = ast.parse((ROOT / path).read_text())
        held += [path for node in ast.walk(tree) if isinstance(node, ast.Global)]
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                value = ast.unparse(node.value)  # what begins empty is there to be filled
                if re.fullmatch(r"\{\}|\[\]|(set|dict|list|deque|defaultdict)\(\w*\)", value):
                    held.append(f"{path}: {ast.unparse(node)}")
    assert held == []


@pytest.mark.parametrize("path", [path for path in sources() if path.startswith("fgds_core/")])
def test_the_core_reads_no_file_of_parameters(path: str) -> None:
    text = (ROOT / path).read_text()
    assert "params.yaml" not in text.replace("`params.yaml`", "").replace("no params.yaml", "")


def test_the_stages_of_dvc_are_the_flows() -> None:
    stages = pipeline()["stages"]
    assert tuple(stages) == STAGES
    for name in STAGES:
        assert stages[name]["cmd"] == f"python -m flows.{name}"
        assert stage_flow(name).name == name


@pytest.mark.parametrize("name", STAGES)
def test_code_dependencies_are_the_import_closure(name: str) -> None:
    listed = [dep for dep in pipeline()["stages"][name]["deps"] if is_code(dep)]
    assert listed == list(closure(f"flows.{name}")), "run `python -m flows.closure --write`"


@pytest.mark.parametrize("name", STAGES)
def test_parameter_dependencies_are_the_sections_of_the_flow(name: str) -> None:
    read = set(sections_of(stage_flow(name)))
    assert read <= set(SECTIONS)
    listed = {key.split(".")[0] for key in pipeline()["stages"][name]["params"]}
    assert listed == read - {"compute", "store"}


def test_editing_the_report_redraws_nothing_and_editing_the_sampler_does() -> None:
    code = {name: set(closure(f"flows.{name}")) for name in STAGES}
    assert [name for name in STAGES if "fgds_core/report/page.py" in code[name]] == ["report"]
    assert "fgds_core/report/page.html.j2" in code["report"]
    # The stage adapt draws what the check looks at, to know what the generator is to learn
    assert [name for name in STAGES if "fgds_core/diffusion/sample.py" in code[name]] == [
        "adapt",
        "synthesize",
    ]


def test_plumbing_is_no_code_of_a_stage_and_holds_no_science() -> None:
    for module in PLUMBING:
        path = module.replace(".", "/")
        assert (ROOT / f"{path}.py").is_file() or (ROOT / path / "__init__.py").is_file()
        assert not {"torch", "numpy", "diffusers"} & set(
            imported_packages(
                f"{path}.py" if (ROOT / f"{path}.py").is_file() else f"{path}/__init__.py"
            )
        )


def test_closure_follows_every_form_of_import(tmp_path: Path) -> None:
    files = {
        "flows/__init__.py": "",
        "flows/draw.py": "import tasks.draw\nif __name__ == '__main__':\n    import flows.cli",
        "flows/cli.py": "",
        "tasks/__init__.py": "",
        "tasks/draw.py": "def f():\n    import fgds_core.one.inner\n    from fgds_core import two",
        "fgds_core/__init__.py": "",
        "fgds_core/one/__init__.py": "from . import beside\n",
        "fgds_core/one/inner.py": "from ..three import name\n",
        "fgds_core/one/beside.py": "",
        "fgds_core/two.py": "import json\n",
        "fgds_core/two.html.j2": "a template",
        "fgds_core/three.py": "name = 1\n",
        "fgds_core/unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    unused = {"flows/__init__.py", "tasks/__init__.py", "flows/cli.py", "fgds_core/unused.py"}
    assert set(closure("flows.draw", root=tmp_path)) == set(files) - unused


def test_every_key_of_the_parameters_is_explained() -> None:
    from flows.cli.keys import keys

    read_params(ROOT / "params.yaml")
    unexplained = [key.path for name in SECTIONS for key in keys(name) if not key.description]
    assert unexplained == []


@pytest.mark.parametrize("name", STAGES)
def test_flows_import_their_tasks_late(name: str) -> None:
    """`--help` must not wait for torch: the module of a flow imports no task of a stage."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(stage_flow(name).fn)))
    top = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert not top & {f"tasks.{stage}" for stage in STAGES}
