"""What drawing costs, reckoned from a probe."""

import pytest
from micro import synthesize_config

from fgds_core.errors import InputError
from fgds_core.synthesis.plan import plan_set
from tasks.cost import Ahead, Probe, check_device_hours, cost

PROBE = Probe("yak", 4, "cpu", seconds_per_image=2.0, startup_s=7.0)


def test_device_hours_do_not_depend_on_the_workers_and_wall_time_does() -> None:
    config = synthesize_config(target_per_class=50, images_per_part=8)
    parts = plan_set((150, 40, 30, 5), ("cat", "dog", "owl", "yak"), config).parts
    alone, three, many = (cost(parts, PROBE, workers) for workers in (1, 3, 100))
    assert alone.device_hours == three.device_hours == many.device_hours == 75 * 2 / 3600
    assert alone.wall_s == 75 * 2 + 7
    assert 75 * 2 / 3 + 7 <= three.wall_s < alone.wall_s
    assert many.wall_s == many.longest_part_s + 7 == 8 * 2 + 7


def test_what_later_rounds_take_is_counted() -> None:
    parts = plan_set((10,), ("cat",), synthesize_config(target_per_class=20)).parts
    ahead = Ahead(num_images=31, num_trainings=2, training_s=100.0)
    both = cost(parts, PROBE, 3, ahead)
    assert both.device_hours == (41 * 2 + 200) / 3600
    assert both.wall_s == (4 + 11) * 2 + 3 * 7 + 200  # three workers, started for each round
    later = cost((), PROBE, 3, ahead)
    assert later.device_hours == (31 * 2 + 200) / 3600
    assert later.wall_s == 11 * 2 + 2 * 7 + 200
    unknown = cost(parts, PROBE, 3, Ahead(31, 2))
    assert unknown.device_hours == 41 * 2 / 3600


def test_a_run_above_the_limit_is_refused() -> None:
    check_device_hours(2.0, 2.0, 1000)
    told = r"1,000 images.*about 2\.5 device-hours.*limit of 2;.*max_device_hours.*target_per_clas"
    with pytest.raises(InputError, match=told):
        check_device_hours(2.5, 2.0, 1000)
