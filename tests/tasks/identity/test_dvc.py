"""What DVC refuses is a message to the user."""

from pathlib import Path

import pytest

from fgds_core.errors import InputError
from tasks.identity.dvc import is_up_to_date, record


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder under DVC, without git and with one stage."""
    from dvc.repo import Repo

    monkeypatch.chdir(tmp_path)
    Repo.init(no_scm=True).close()
    stage = "stages:\n  one:\n    cmd: make one\n    outs: [made]\n"
    (tmp_path / "dvc.yaml").write_text(stage)
    return tmp_path


def test_a_stage_without_its_outputs(workspace: Path) -> None:
    with pytest.raises(InputError, match=r"DVC cannot record the stage one: .*made.*is kept"):
        record("one")


def test_a_file_of_stages_that_is_none(workspace: Path) -> None:
    (workspace / "dvc.yaml").write_text("stages: [\n")
    with pytest.raises(InputError, match=r"DVC cannot compare the stages with dvc\.lock: .*dvc"):
        is_up_to_date()
