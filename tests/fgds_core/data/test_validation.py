import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fgds_core.data.config import DrawnValidation
from fgds_core.data.sources.validation import drawn_validation, validating

FRACTIONS = st.floats(0, 1, exclude_min=True, exclude_max=True)


def drawn(fraction=0.1, seed=0):
    return DrawnValidation.model_construct(fraction=fraction, seed=seed)


@given(st.integers(0, 60), FRACTIONS, st.integers(0, 9))
def test_some_images_of_a_class_validate_and_some_train(num_images, fraction, seed):
    places = validating("cat", num_images, drawn(fraction, seed))
    assert places == sorted(set(places) & set(range(num_images)))
    assert len(places) < max(num_images, 1)
    assert len(places) >= (num_images > 1)


def test_the_draw_depends_on_its_seed_and_on_the_class():
    first = validating("cat", 1000, drawn())
    assert len(first) == 100
    assert first == validating("cat", 1000, drawn())
    assert first != validating("cat", 1000, drawn(seed=1))
    assert first != validating("dog", 1000, drawn())


def test_every_class_is_drawn_as_if_it_were_alone():
    labels = np.array([1, 0, 1, 1, 2, 0, 1])
    validates, said = drawn_validation(labels, ["cat", "dog", "owl"], drawn(0.5))
    for label, name in enumerate(["cat", "dog", "owl"]):
        (places,) = np.nonzero(validates[labels == label])
        assert places.tolist() == validating(name, int(np.sum(labels == label)), drawn(0.5))
    assert "3 of 7 training images, 0.5 of each class" in said
    assert said.endswith("; 1 classes of one training image have none")
