"""Where a chart has its points."""

from fgds_core.report.charts import trade_off


def curve(*points):
    return [
        {"tau": str(tau), "overall": "0.5", "many": many, "medium": "", "few": few}
        for tau, many, few in points
    ]


def test_points_that_nobody_wants_are_left_out_and_the_classifier_as_it_is_stays():
    rows = curve(
        (-1, "0.7", "0.1"),  # worse than the next in both
        (-0.5, "0.8", "0.2"),
        (0, "0.6", "0.55"),  # worse than the next, but it is the classifier
        (0.5, "0.65", "0.6"),
        (1, "0.5", "0.7"),
        (2, "0.1", "0.75"),  # too strong
    )
    chart = trade_off({"control": rows})
    (line,) = chart.lines
    assert [point.label for point in line.points] == ["\N{MINUS SIGN}0.5", "0", "0.5", "1"]
    assert chart.title == "Few-shot over many-shot accuracy"
    for point in line.points:
        assert chart.left <= point.x <= chart.right
        assert chart.top <= point.y <= chart.bottom
    first, *_, last = line.points
    assert first.x > last.x  # more of the frequent ones
    assert first.y > last.y  # downwards


def test_axes_are_tens_of_percent_around_the_points():
    chart = trade_off({"final": curve((0, "0.71", "0.5"), (1, "0.65", "0.58"))})
    assert [tick.label for tick in chart.x_ticks] == ["60", "70", "80"]
    assert [tick.label for tick in chart.y_ticks] == ["50", "60"]
    assert (chart.x_ticks[0].place, chart.x_ticks[-1].place) == (chart.left, chart.right)
