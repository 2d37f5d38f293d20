"""The stage adapt: off it changes nothing, on it costs what is said and decides some classes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from micro import contents, set_params

from fgds_core.ability import check
from fgds_core.ability.evidence import FAR, Verdict
from fgds_core.ability.record import read_ability
from fgds_core.adapt.record import OFF, read_record
from fgds_core.errors import InputError
from fgds_core.synthesis.shards import read_index
from flows.cli.inputs import check_classes
from flows.cli.params import read_params
from flows.plan import main as plan
from tasks.workspace import FIRST

Run = Callable[..., int]

ON = {
    "enabled": True,
    "classes": "all",
    "num_steps": 4,
    "decoder_steps": 0,
    "eval_every": 2,
    "batch_size": 2,
}


def fingerprints() -> dict[str, set[str]]:
    """Those of each class's parts."""
    index = read_index(FIRST.synthetic)
    found: dict[str, set[str]] = {}
    for part in index.parts:
        found.setdefault(index.class_names[part.label], set()).add(part.fingerprint)
    return found


def test_off_it_says_so_and_no_image_is_another(ready: Run, drawn: list[str]) -> None:
    assert ready("synthesize") == 0
    before, parts = contents(FIRST.synthetic), len(drawn)
    assert parts
    assert ready("adapt") == 0
    assert read_record(FIRST.adapter) == OFF
    assert [path.name for path in FIRST.adapter.iterdir()] == ["adapter.json"]
    assert ready("synthesize", adapt={"rank": 5, "num_steps": 7}) == 0
    assert contents(FIRST.synthetic) == before
    assert len(drawn) == parts
    assert "adapter" not in read_index(FIRST.synthetic).made_by


def test_the_classes_that_it_learns_are_drawn_anew_and_no_others(
    ready: Run, drawn: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready("synthesize") == 0
    before, plain = contents(FIRST.synthetic), fingerprints()
    drawn.clear()

    on = {**ON, "classes": ["owl"]}
    assert ready("synthesize", adapt=on) == 2  # it would draw with what is not learnt
    assert "models/adapter is missing or has learnt something else" in capsys.readouterr().err
    assert ready("adapt") == 0
    assert "adapt: learnt 1 classes from" in capsys.readouterr().out
    record = read_record(FIRST.adapter)
    assert set(record.made_by["real"]) == {"owl"}
    assert ready("synthesize") == 0
    assert {path.split("/")[0] for path in drawn} == {"02-owl"}
    now = fingerprints()
    assert now["owl"] != plain["owl"]
    assert {name: now[name] for name in now if name != "owl"} == {
        name: plain[name] for name in plain if name != "owl"
    }
    images = {path for path in before if path.endswith(".parquet") and path[0] != "_"}
    changed = {path for path in images if contents(FIRST.synthetic)[path] != before[path]}
    assert {path.split("/")[0] for path in changed} == {"02-owl"}
    assert read_index(FIRST.synthetic).made_by["adapter"]["classes"] == ["owl"]

    drawn.clear()
    assert ready("adapt", compute={"batch_size": 3}) == 0  # nothing is learnt twice
    assert ready("synthesize") == 0
    assert not drawn
    assert ready("synthesize", adapt={"num_steps": 5}) == 2  # another adapter


def test_by_default_it_learns_what_the_check_doubts(
    ready: Run,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = {"owl"}

    def judged(name: str, *_: object) -> Verdict:
        return Verdict(name not in bad, dict.fromkeys({FAR} if name in bad else (), "so it is"))

    monkeypatch.setattr(check, "judged", judged)
    needed = {**ON, "classes": "needed"}
    set_params(workspace, {"adapt": needed, "synthesize": {"check_images": 8}})
    assert plan(["--probe", "0"]) == 0
    assert "the classes that the generator check refuses or doubts" in capsys.readouterr().out
    assert ready("adapt") == 0
    told = capsys.readouterr().out
    assert "can draw 1 of 2 classes" in told  # the third needs no images
    assert "warning: it cannot draw 'owl': far from real (so it is)" in told
    assert read_record(FIRST.adapter).classes == ("owl",)
    assert read_ability(FIRST.unadapted().ability).doubtful == ("owl",)
    bad.clear()  # it has learnt
    assert ready("synthesize") == 0
    assert read_ability(FIRST.ability).doubtful == ()
    assert read_index(FIRST.synthetic).made_by["adapter"]["classes"] == ["owl"]
    # Another check, which doubts nothing
    capsys.readouterr()
    assert ready("adapt", synthesize={"check_images": 9}) == 0
    assert "adapt: nothing to learn: the check doubts none" in capsys.readouterr().out
    assert ready("synthesize") == 0
    assert "adapter" not in read_index(FIRST.synthetic).made_by
    assert ready("adapt", adapt={"enabled": False}) == 0
    assert not read_ability(FIRST.unadapted().ability).check_images


def test_the_plan_says_what_learning_costs_and_a_limit_holds(
    ready: Run, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_params(workspace, {"adapt": ON})
    assert plan([]) == 0
    told = capsys.readouterr().out
    assert "Adapter: 3 classes are to be learnt first, in 4 steps at most: about 0:" in told
    assert "Probe: " in told
    assert not FIRST.adapter.exists()  # it writes nothing
    set_params(workspace, {"adapt": {"num_steps": 1_000_000}})
    assert plan(["--max-device-hours", "0.01"]) == 2
    assert ready("adapt", compute={"max_device_hours": 0.01}) == 2
    said = capsys.readouterr().err
    assert "adapt takes about" in said
    assert "compute.max_device_hours" in said
    assert not FIRST.adapter.exists()
    assert ready("adapt", adapt={"num_steps": 4}, compute={"max_device_hours": None}) == 0
    capsys.readouterr()
    assert plan(["--probe", "0"]) == 0
    assert "Adapter: the generator has learnt 3 classes." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"adapt": {"classes": ["cow"]}}, "adapt.classes: the data have no class 'cow'"),
        (
            {"adapt": {"enabled": True}, "synthesize": {"check_images": 0}},
            "adapt.classes: got needed, but synthesize.check_images is 0",
        ),
        (
            {"adapt": {"enabled": True}, "generator": {"kind": "stable-diffusion-3"}},
            "adapt.enabled: got true, but a generator of kind stable-diffusion-3 cannot learn",
        ),
    ],
)
def test_what_cannot_be_learnt_is_said_at_the_start(
    workspace: Path, changes: dict[str, dict[str, object]], said: str
) -> None:
    set_params(workspace, changes)
    with pytest.raises(InputError) as caught:
        check_classes(read_params()["adapt"].classes, ["cat", "dog"])
    assert said in str(caught.value)
