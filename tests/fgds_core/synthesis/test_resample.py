"""Classes that real images fill in place of drawn ones."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from micro import random_images
from sets import image_set

from fgds_core.errors import InputError
from fgds_core.images.dataset import read_images
from fgds_core.images.table import column_values, read_table
from fgds_core.synthesis.plan import Part, parts_of
from fgds_core.synthesis.resample import write_resampled

NAMES = ("cat", "dog")


def test_each_image_is_a_real_one_of_its_class_by_its_own_seed(tmp_path: Path) -> None:
    images = random_images(6)
    real = image_set(images, [0, 1, 1, 1, 0, 1], NAMES)
    whole = Part(1, "dog", 0, 0, 30)
    once = write_resampled(whole, real, 7, "made so", tmp_path / "whole")
    rows = read_table(tmp_path / "whole" / once.path)
    drawn = read_images(tmp_path / "whole" / once.path)
    chosen = column_values(rows, "conditioning_id")
    own = real.of_class(1)
    assert torch.equal(drawn.__getitems__(range(30)), own.__getitems__(chosen))
    assert set(chosen) == {0, 1, 2, 3}
    assert set(column_values(rows, "feedback")) == {"none"}
    # In parts of another size the same ones come
    parts = [write_resampled(p, real, 7, "", tmp_path / "parts") for p in parts_of(whole, 7)]
    again = [
        place
        for part in parts
        for place in column_values(read_table(tmp_path / "parts" / part.path), "conditioning_id")
    ]
    assert again == chosen
    assert sum((part.seeds for part in parts), ()) == once.seeds


def test_an_image_for_a_group_is_of_it_where_there_is_one(tmp_path: Path) -> None:
    groups = ["sea", "sea", "land", "sea"]
    real = image_set(random_images(4), [0, 1, 1, 1], NAMES, groups)
    part = Part(1, "dog", 0, 0, 12, ("land", "sea", "sky") * 4)
    rows = read_table(tmp_path / write_resampled(part, real, 0, "", tmp_path).path)
    found = column_values(rows, "group")
    assert found[0::3] == ["land"] * 4
    assert found[1::3] == ["sea"] * 4
    assert set(found[2::3]) <= {"sea", "land"}


def test_a_class_without_real_images_is_refused(tmp_path: Path) -> None:
    real = image_set(random_images(2), [0, 0], NAMES)
    part = replace(Part(1, "dog", 0, 0, 3))
    with pytest.raises(InputError, match="'dog' has no real training image to draw again"):
        write_resampled(part, real, 0, "", tmp_path)
