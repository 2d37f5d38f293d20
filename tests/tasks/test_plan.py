"""What there is to draw, counted, and what it costs, reckoned from a probe."""

import tracemalloc

import pytest
from micro import synthesize_config

from fgds_core.data.imbalance import long_tailed_counts
from fgds_core.errors import InputError
from tasks.plan import Probe, check_device_hours, cost, total, workload

NAMES = ("cat", "dog", "owl", "yak")
COUNTS = (150, 40, 30, 5)
PROBE = Probe("yak", 4, "cpu", seconds_per_image=2.0, startup_s=7.0)


def test_bins_and_classes_count_the_same_images() -> None:
    load = workload(COUNTS, NAMES, synthesize_config(target_per_class=50, images_per_part=8))
    assert [(each.name, each.wanted, each.num_parts) for each in load.classes] == [
        ("cat", 0, 0),
        ("dog", 10, 2),
        ("owl", 20, 3),
        ("yak", 45, 6),
    ]
    assert [(each.name, each.num_classes, each.real, each.wanted) for each in load.bins] == [
        ("many", 1, 150, 0),
        ("medium", 2, 70, 30),
        ("few", 1, 5, 45),
    ]
    assert total("all", load.bins) == total("all", load.classes)
    assert load.num_images == 75


def test_finished_parts_are_left_out() -> None:
    config = synthesize_config(target_per_class=50, images_per_part=8)
    load = workload(COUNTS, NAMES, config, lambda part: part.index == 0)
    assert [each.finished for each in load.classes] == [0, 8, 8, 8]
    assert len(load.unfinished) == 8
    assert all(part.index for part in load.unfinished)


def test_a_million_images_are_counted_by_the_part() -> None:
    counts = long_tailed_counts(1280, 256, 1000)
    names = [f"class {label}" for label in range(1000)]
    config = synthesize_config(target_per_class=1300, images_per_part=500)
    tracemalloc.start()
    load = workload(counts, names, config)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(each.wanted for each in load.bins) == 1_300_000 - sum(counts)
    assert len(load.unfinished) > 2000
    assert peak < 10e6  # bytes


def test_device_hours_do_not_depend_on_the_workers_and_wall_time_does() -> None:
    parts = workload(
        COUNTS, NAMES, synthesize_config(target_per_class=50, images_per_part=8)
    ).unfinished
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
