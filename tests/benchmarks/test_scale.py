"""The simulation has the size of ImageNet-LT, and its figures are those the documents name."""

import json

from benchmarks.scale import IMAGES_PER_PART, RESULT, TARGET, real_counts
from fgds_core.synthesis.plan import plan_set
from flows.cli.params import read_params


def test_it_fills_a_thousand_classes_the_one_with_most_to_draw_first() -> None:
    counts = real_counts(1000)
    assert (min(counts), max(counts)) == (5, 1280)
    assert 110_000 < sum(counts) < 120_000
    config = read_params()["synthesize"].model_copy(
        update={"target_per_class": TARGET, "images_per_part": IMAGES_PER_PART}
    )
    planned = plan_set(counts, [f"class {number}" for number in range(1000)], config)
    assert sum(planned.wanted) == 1000 * TARGET - sum(counts)
    assert 1900 < len(planned.parts) < 2100
    wanted = [planned.wanted[part.label] for part in planned.parts]
    assert wanted == sorted(wanted, reverse=True)
    drawn = {label: 0 for label in range(1000)}
    for part in planned.parts:
        drawn[part.label] += part.num_images
    assert tuple(drawn.values()) == planned.wanted


def test_the_documents_name_what_was_measured() -> None:
    measured = json.loads(RESULT.read_text())
    text = (RESULT.parents[2] / "docs" / "cluster.md").read_text()
    assert f"{measured['parts']:,} parts" in text
    assert f"{100 * measured['overhead_over_ideal']:.1f} % over" in text
    assert f"| {measured['index_seconds']:.1f} s |" in text
    assert f"{measured['plan_seconds']:.2f} s, {measured['plan_peak_gb']:.2f} GB" in text
