"""`make repro RECIPE=nico` through DVC and Prefect: 84 s of processor time, so not in `make test`.

    python -m pytest -n 0 -m slow tests/recipes

The other recipes differ from it in nothing that DVC and Prefect see.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from clones import commit, dvc, make_clone, module, one_server, ran, run
from miniatures import MINIATURES, OVERRIDES, SMALL

from flows.cli.params import dump_params, read_params
from flows.synth_pipeline import STAGES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with one_server(tmp_path_factory.mktemp("prefect")):
        yield


def shrink(recipe: Path) -> None:
    """Makes a recipe as small as its miniature; DATA and GENERATOR stay blank."""
    header = recipe.read_text().partition("\n\n")[0]
    small = read_params(recipe, SMALL | OVERRIDES[recipe.stem])
    recipe.write_text(f"{header}\n\n{dump_params(small)}")


def test_the_job_runs_a_recipe_and_the_same_command_finds_it_done(
    tmp_path: Path, tiny_unclip: Path
) -> None:
    name = "nico"
    clone = make_clone(tmp_path / "clone", tiny_unclip)
    shrink(clone / "recipes" / f"{name}.yaml")
    commit(clone)
    MINIATURES[name](clone / "raw")
    command = ("flows.repro", "--recipe", name, "--data", "raw")
    command += ("--generator", "assets/tiny-unclip")

    said = module(clone, *command)
    assert f"params.yaml is now recipes/{name}.yaml" in said
    assert "yours are in git" in said
    assert ran(said) == list(STAGES)
    assert "test accuracy, %" in said

    said = module(clone, *command)
    assert f"params.yaml is recipes/{name}.yaml with this DATA" in said
    assert "Everything is up to date" in said
    assert dvc(clone, "status").strip() == "Data and pipelines are up to date."
    changed = run(["git", "diff", "--name-only"], clone).splitlines()
    assert set(changed) <= {"params.yaml", "dvc.lock", "data/watched"}
