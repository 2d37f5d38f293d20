"""The task of the stage assess: results replace old ones when they are whole."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from micro import ROOT
from ruamel.yaml import YAML

import tasks.assess
from flows.assess import results
from flows.cli.params import read_params
from tasks.workspace import FIRST


def test_an_assessment_that_fails_leaves_the_last_one(
    prefect_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = SimpleNamespace(counts={"train": (1,), "val": (1,)}, num_kept=1)
    monkeypatch.setattr(tasks.assess, "read_meta", lambda folder: sizes)
    monkeypatch.setattr(tasks.assess, "read_index", lambda folder: sizes)
    monkeypatch.setattr(tasks.assess, "use_device", lambda compute: "cpu")

    def run(text: str, fails: bool = False) -> None:
        def assess(*arguments: object, **options: object) -> None:
            reports = next(arg for arg in arguments if str(arg).startswith("reports"))
            (Path(str(reports)) / "assess").mkdir()
            (Path(str(reports)) / "synthetic.json").write_text(text)
            if fails:
                raise OSError(28, "No space left on device")
            (Path(str(reports)) / "assess" / "measures.json").write_text(text)

        monkeypatch.setattr(tasks.assess, "assess", assess)
        compute = SimpleNamespace(batch_size=4, loader_workers=0)
        config = SimpleNamespace(features="clip")
        tasks.assess.assess_synthetic.fn(None, config, 0, {}, compute, FIRST)

    run("first")
    with pytest.raises(OSError, match="No space"):
        run("second", fails=True)
    files = {path.name: path.read_text() for path in Path("reports").rglob("*") if path.is_file()}
    assert files == {"synthetic.json": "first", "measures.json": "first"}
    run("third")
    assert Path("reports/assess/measures.json").read_text() == "third"


def test_another_judge_draws_nothing_again() -> None:
    stages = YAML(typ="safe").load(Path(ROOT, "dvc.yaml").read_text())["stages"]
    judge = read_params(ROOT / "params.yaml")["judge"].path
    assert [name for name, stage in stages.items() if judge in stage["deps"]] == ["judge"]
    asked = [name for name, stage in stages.items() if "judge" in stage["params"]]
    # Synthesize draws again only what a check leaves out; the page shows the parameters
    assert asked == ["judge", "synthesize", "report"]
    asking = [name for name, stage in stages.items() if "models/judge" in stage["deps"]]
    assert asking == ["adapt", "synthesize", "assess"]  # the generator check, and the measures
    assert [name for name, stage in stages.items() if "assess" in stage["params"]] == [
        "assess",
        "report",
    ]


def test_the_result_is_a_line_with_every_reason_once(tmp_path: Path) -> None:
    entry = {"value": 3.14159, "num_real": 92}
    none = {"value": None, "num_real": 92, "reason": "needs 500"}
    found = {"fid": none, "kid": entry, "density": entry, "coverage": none, "num_synthetic": 1158}
    path = tmp_path / "measures.json"
    path.write_text(json.dumps({**found, "warnings": []}))
    assert results(path) == [
        "FID -, KID 3.14, density 3.14, coverage -; 1,158 synthetic against 92 validation images",
        "no FID, coverage: needs 500",
    ]
    path.write_text(json.dumps({**found, "warnings": ["needs 500"]}))
    assert results(path)[1:] == ["warning: needs 500"]
