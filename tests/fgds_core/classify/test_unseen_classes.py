"""A class without real training images: no baseline learns it, synthetic images teach it."""

import pytest
from training import VAL, recipe, shaded

from fgds_core.classify.batches import BATCH_SOURCES, TrainingImages
from fgds_core.classify.predict import predict_logits
from fgds_core.classify.priors import priors_of
from fgds_core.classify.train import train_classifier

UNSEEN = shaded([24, 0, 6])
SYNTHETIC = shaded([0, 20, 8], seed=2)
PLAIN = {"horizontal_flip": False, "shift": 0, "erase": 0.0, "label_smoothing": 0.0}


@pytest.mark.parametrize("name", sorted(set(BATCH_SOURCES) - {"group_balanced"}))
def test_no_batch_of_real_images_asks_for_it(name):
    from torch import Generator

    training = TrainingImages(UNSEEN)
    config = recipe(sampling=name, num_steps=20)
    batches = list(BATCH_SOURCES[name](training, config, Generator().manual_seed(0)))
    assert len(batches) == 20
    assert {int(UNSEEN.labels[row]) for rows in batches for row in rows} == {0, 2}


def test_its_prior_counts_nothing_whatever_is_drawn_for_it():
    assert priors_of(TrainingImages(UNSEEN, SYNTHETIC, 0.5)).counts.tolist() == [24, 0, 6]


def test_synthetic_images_teach_the_final_classifier_what_it_looks_like():
    config = recipe(num_steps=80, learning_rate=0.01, eval_every=40, **PLAIN)
    baseline = train_classifier(UNSEEN, VAL, config, seed=0)
    final = train_classifier(UNSEEN, VAL, config, seed=0, synthetic=SYNTHETIC, real_share=0.5)
    unseen = VAL.labels == 1
    before, after = (
        (predict_logits(each, VAL).argmax(dim=1) == VAL.labels)[unseen].float().mean()
        for each in (baseline, final)
    )
    assert before < 0.5 < after
