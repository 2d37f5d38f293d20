"""What drawing costs, reckoned from a probe."""

import pytest
from micro import synthesize_config

from fgds_core.errors import InputError
from fgds_core.synthesis.plan import plan_set
from tasks.cost import Probe, check_device_hours, cost

PROBE = Probe("yak", 4, "cpu", seconds_per_image=2.0, startup_s=7.0)


def test_device_hours_do_not_depend_on_the_workers_and_wall_time_does() -> None:
    config = synthesize_config(target_per_class=50, images_per_part=8)
    parts = plan_set((150, 40, 30, 5), ("cat", "dog", "owl", "yak"), config).parts
    alone, three, many = (cost(parts, PROBE, workers) for workers in (1, 3, 100))
    assert alone.device_hours == three.device_hours == many.device_hours == 75 * 2 / 3600
    assert alone.wall_s == 75 * 2 + 7
    assert 75 * 2 / 3 + 7 <= three.wall_s < alone.wall_s
    assert many.wall_s == many.longest_part_s + 7 == 8 * 2 + 7


def test_a_run_above_the_limit_is_refused() -> None:
    check_device_hours(2.0, 2.0, 1000)
    told = r"1,000 images.*about 2\.5 device-hours.*limit of 2;.*max_device_hours.*target_per_clas"
    with pytest.raises(InputError, match=told):
        check_device_hours(2.5, 2.0, 1000)
