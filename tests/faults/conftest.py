"""One prepared clone and its undisturbed synthetic set; a copy and a row of the table per case."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from clones import module, one_server
from disturbed import WORKERS, Case
from micro import contents, set_params

CASES = pytest.StashKey[list[dict[str, object]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-out", type=Path, help="file for the table of the cases, JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[CASES] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.faults)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    case = getattr(item, "funcargs", {}).get("case")
    if report.when == "call" and case is not None:
        case.close()
        row = case.row(None if report.skipped else report.passed)
        item.config.stash.setdefault(CASES, []).append(row)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    file = session.config.getoption("--faults-out", default=None)
    if file is not None and (rows := session.config.stash[CASES]):
        file.write_text(json.dumps(rows, indent=2) + "\n")


@pytest.fixture(scope="session", autouse=True)
def _one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Prefect server for the runs whose own one is not the matter."""
    with one_server(tmp_path_factory.mktemp("prefect")):
        yield


@pytest.fixture(scope="session")
def prepared(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with all that the stage synthesize reads; it draws 80 images in 20 parts."""
    clone = tmp_path_factory.mktemp("prepared") / "clone"
    shutil.copytree(finished, clone, symlinks=True)
    shutil.rmtree(clone / "data" / "synthetic")
    changes = {"target_per_class": 40, "images_per_part": 4, "num_inference_steps": 12}
    set_params(clone, {"synthesize": changes, "compute": {"workers": WORKERS}})
    return clone


@pytest.fixture(scope="session")
def undisturbed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the clone in which the stage ran undisturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "clone"
    shutil.copytree(prepared, folder, symlinks=True)
    module(folder, "flows.synthesize")
    return folder


@pytest.fixture
def case(
    request: pytest.FixtureRequest, prepared: Path, undisturbed: Path, tmp_path: Path
) -> Iterator[Case]:
    """A case in a copy of the clone, of the finished one where the fault comes after the run.

    The marker `case` names it: `case(name, finished=False)`.
    """
    (name,) = request.node.get_closest_marker("case").args
    (tmp_path / "logs").mkdir()
    whole = contents(undisturbed / "data" / "synthetic")
    case = Case(name, tmp_path / "clone", tmp_path / "logs", whole)
    after = request.node.get_closest_marker("case").kwargs.get("finished", False)
    shutil.copytree(undisturbed if after else prepared, case.folder, symlinks=True)
    case.parts_planned = 0 if after else sum(path.endswith(".parquet") for path in whole)
    yield case
    case.close()
