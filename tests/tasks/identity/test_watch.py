"""DVC notices what the stage prepare reads, whatever stands in `data.root`."""

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.cli import main
from ruamel.yaml import YAML

from fgds_core.errors import InputError
from tasks.identity.links import LISTING, WATCHED, note_listing, watch, watch_links

STAGES = """\
# A comment stays.
stages:
  prepare:
    cmd: {command}
    deps:
      - data/watched
    params: [data]
    outs:
      - data/prepared
"""

PREPARE = """\
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from ruamel.yaml import YAML
from tasks.identity.links import watch
root = YAML(typ="safe").load(Path("params.yaml"))["data"].get("root", "")
try:
    watch(root)
except ValueError as error:
    sys.exit(f"error: {{error}}")
names = sorted(path.name for path in Path("data/watched/shirt").iterdir())
Path("data/prepared").write_text(" ".join(names))
"""

Dvc = Callable[..., str]


@pytest.fixture
def dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Dvc:
    """Runs DVC in a small repository with the stage prepare alone; its argument is the status."""
    monkeypatch.chdir(tmp_path)
    root = str(Path(__file__).parents[3])
    command = json.dumps(f"{shlex.quote(sys.executable)} prepare.py")  # wherever it lies
    Path("dvc.yaml").write_text(STAGES.format(command=command))
    Path("prepare.py").write_text(PREPARE.format(root=root))
    Path("pics/shirt").mkdir(parents=True)
    Path("pics/shirt/1").touch()
    Path("data").mkdir()
    WATCHED.symlink_to("../pics")
    assert main(["init", "--no-scm", "--quiet"]) == 0

    def dvc(*arguments: str, root: str | None = "pics", status: int = 0) -> str:
        with Path("params.yaml").open("w") as file:
            YAML().dump({"data": {} if root is None else {"root": root}}, file)
        capfd.readouterr()
        assert main(list(arguments)) == status
        return "".join(capfd.readouterr())

    return dvc


def test_dvc_notices_changes_behind_links_and_says_what_is_wrong_with_the_root(dvc: Dvc) -> None:
    dvc("repro")
    assert "up to date" in dvc("status")
    Path("pics/shirt/2").touch()
    assert "data/watched" in dvc("status")

    Path("pics/shirt").rename("shirt")
    Path("pics/shirt").symlink_to("../shirt")
    dvc("repro")
    Path("shirt/3").touch()
    assert "prepare" in dvc("status")
    dvc("repro")
    assert Path("data/prepared").read_text() == "1 2 3"

    for wrong in ("pcis", ".", None):
        said = dvc("repro", root=wrong, status=255)
        assert "error: data.root: " in said
        assert Path("dvc.yaml").read_text().startswith("# A comment stays.")

    Path("other/shirt").mkdir(parents=True)
    dvc("repro", root="other")
    assert "up to date" in dvc("status", root="other")
    assert "always_changed" not in Path("dvc.yaml").read_text()


def test_links_below_a_generator_or_judge_are_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(
        STAGES.format(command="python prepare.py").replace("prepare:", "synthesize:")
    )
    text = Path("dvc.yaml").read_text()
    Path("generator/unet").mkdir(parents=True)
    watch_links("synthesize", "generator", None, "owner/name")
    assert Path("dvc.yaml").read_text() == text
    Path("generator/vae").symlink_to("unet")
    watch_links("synthesize", "generator", None, "owner/name")
    assert "always_changed: true" in Path("dvc.yaml").read_text()
    watch_links("synthesize", "owner/name")
    assert Path("dvc.yaml").read_text() == text


def test_the_link_leads_to_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pics/a").mkdir(parents=True)
    watch("pics")
    assert not WATCHED.is_symlink()  # no DVC here
    Path("dvc.yaml").write_text(STAGES.format(command="python prepare.py"))
    text = Path("dvc.yaml").read_text()
    for root in ("pics", "pics/a", str(tmp_path / "pics"), "./pics/../pics"):
        watch(root)
        assert WATCHED.resolve() == Path(root).resolve()
    assert Path("dvc.yaml").read_text() == text
    for root in ("data", "data/watched", "data/prepared", "models", "reports/x"):
        Path(root).mkdir(parents=True, exist_ok=True)
        with pytest.raises(InputError, match=rf"data\.root: {root} holds .*only raw images"):
            watch(root)
    WATCHED.unlink()
    WATCHED.mkdir()
    with pytest.raises(InputError, match="data/watched must be a link"):
        watch("pics")


def test_a_pipe_is_refused_before_dvc_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pics/shirt").mkdir(parents=True)
    os.mkfifo("pics/shirt/1.png")
    with pytest.raises(InputError, match=r"pics/shirt/1\.png is neither .* but a pipe"):
        watch("pics")


def test_a_bucket_is_watched_by_its_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text(STAGES.format(command="true"))
    watch("s3://bucket/flowers")
    assert WATCHED.resolve() == LISTING.parent.resolve()
    note_listing("what it lists")
    assert (WATCHED / "listing.txt").read_text() == "what it lists\n"
    pipeline = YAML(typ="safe").load(tmp_path / "dvc.yaml")
    assert pipeline["stages"]["prepare"]["always_changed"]
    watch("s3://bucket/flowers")
    assert LISTING.read_text() == "what it lists\n"
