"""What there is to draw, counted."""

import tracemalloc

from micro import synthesize_config

from fgds_core.data.imbalance import long_tailed_counts
from fgds_core.synthesis.plan import plan_set
from tasks.plan import total, workload

NAMES = ("cat", "dog", "owl", "yak")
COUNTS = (150, 40, 30, 5)


def test_bins_and_classes_count_the_same_images() -> None:
    plan = plan_set(COUNTS, NAMES, synthesize_config(target_per_class=50, images_per_part=8))
    load = workload([plan], plan.parts)
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
    plan = plan_set(COUNTS, NAMES, config)
    load = workload([plan], [part for part in plan.parts if part.index])
    assert [each.finished for each in load.classes] == [0, 8, 8, 8]
    assert len(load.unfinished) == 8
    assert all(part.index for part in load.unfinished)


def test_a_million_images_are_counted_by_the_part() -> None:
    counts = long_tailed_counts(1280, 256, 1000)
    names = [f"class {label}" for label in range(1000)]
    config = synthesize_config(target_per_class=1300, images_per_part=500)
    tracemalloc.start()
    plan = plan_set(counts, names, config)
    load = workload([plan], plan.parts)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(each.wanted for each in load.bins) == 1_300_000 - sum(counts)
    assert len(load.unfinished) > 2000
    assert peak < 10e6  # bytes
