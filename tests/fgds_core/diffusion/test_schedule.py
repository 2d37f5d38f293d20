from fgds_core.diffusion.schedule import guided_steps


def test_the_release_guides_six_of_thirty_steps():
    assert guided_steps(30, 5, 0.0, 1.0) == (0, 5, 10, 15, 20, 25)


def test_an_interval_bounds_the_guided_steps():
    assert guided_steps(20, 1, 0.2, 0.5) == tuple(range(4, 10))
    assert guided_steps(20, 3, 0.2, 0.5) == (4, 7)
    assert guided_steps(10, 1, 0.31, 0.39) == ()


def test_a_count_spreads_the_guided_steps_evenly():
    assert guided_steps(30, 1, 0.0, 1.0, 6) == guided_steps(30, 5, 0.0, 1.0)
    assert guided_steps(20, 1, 0.2, 0.5, 3) == (4, 6, 8)
    assert guided_steps(10, 1, 0.5, 1.0, 99) == (5, 6, 7, 8, 9)
