"""What charts say in words."""

from fgds_core.report import alternatives


def test_of_lines_the_ends_are_told():
    rows = [
        {"classifier": name, "step": step, "accuracy": value}
        for name, values in (("control", (20.0, 70.0, 80.0)), ("final", (30.0, 75.0, 85.0)))
        for step, value in zip((100, 200, 1600), values, strict=True)
    ]
    assert alternatives.lines(rows, "classifier", "step", "accuracy", "%") == (
        "control: 20.0 at step 100, 80.0 at step 1,600; "
        "final: 30.0 at step 100, 85.0 at step 1,600 (%)"
    )


def test_of_a_trade_off_the_classifier_as_it_is_comes_first():
    rows = [
        {"classifier": "final", "tau": tau, "frequent": a, "rare": b}
        for tau, a, b in ((-0.5, 80.0, 60.0), (0.0, 75.0, 86.0), (1.0, 30.0, 93.0))
    ]
    said = alternatives.trade_off(rows, "many", "few")
    assert said.startswith("final: 75.0 many-shot and 86.0 few-shot, up to 93.0 few-shot")


def test_of_classes_the_largest_changes_are_named():
    rows = [
        {"class": name, "gain": gain, "shown": f"{gain:+.1f} (within)", "change": change}
        for name, gain, change in (
            ("cat", 2.0, "gain"),
            ("dog", 9.0, "gain"),
            ("owl", -4.0, "loss"),
            ("yak", 0.1, "within noise"),
        )
    ]
    assert alternatives.gains(rows) == (
        "2 gained (dog +9.0 and cat +2.0), 1 lost (owl -4.0), 1 within noise; the table of all "
        "classes has each"
    )
    cells = [{"kind": kind} for kind in ("more", "less", "less", "within noise")]
    assert alternatives.confusion(cells).startswith("of 4 pairs 1 became more frequent and 2 less")
    pairs = [
        {"class": "cat", "real": 0.5, "synthetic": 0.9},
        {"class": "dog", "real": 0.5, "synthetic": 0.4},
        {"class": "owl", "real": 0.1, "synthetic": 0.9},
    ]
    said = alternatives.hardness(pairs)
    assert said.startswith("2 of 3 classes are harder than their real images (owl and cat)")


def test_of_stages_and_steps_the_gist_is_told():
    seconds = {"prepare": 9.0, "train": 150.0, "draw": 240.0, "assess": 30.0}
    said = alternatives.stages(seconds)
    assert said.startswith("longest draw 4.0 min, train 2.5 min, assess 30 s and 1 more")
    rows = [
        {"class": name, "step": step, "value": value}
        for name, values in (("cat", (4.0, 3.0)), ("dog", (2.0, 1.0)))
        for step, value in enumerate(values, 1)
    ]
    assert alternatives.steps(rows) == "3 at step 1 and 2 at step 2, in the mean of classes"
