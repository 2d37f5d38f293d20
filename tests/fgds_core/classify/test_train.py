import weakref

import pytest
import torch
from pydantic import ValidationError
from sets import gather, image_set
from training import RECIPE, TRAIN, VAL, recipe, same_weights, shaded

from fgds_core.classify import predict as predict_module
from fgds_core.classify.batches import TrainingImages
from fgds_core.classify.calibrate import fit_temperature
from fgds_core.classify.config import TrainConfig
from fgds_core.classify.learner import cosine_with_warmup
from fgds_core.classify.losses import LOSSES, Loss
from fgds_core.classify.metrics import evaluate
from fgds_core.classify.network import create_classifier
from fgds_core.classify.predict import predict
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.save import save_classifier
from fgds_core.classify.stream import training_batches
from fgds_core.classify.train import read_training, train_classifier
from fgds_core.errors import InputError
from fgds_core.feedback.fit import class_gaussians
from fgds_core.images import dataset
from fgds_core.images.augment import augment, draw_changes, erase_, move
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.pixels import from_uint8


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_the_same_seed_gives_the_same_weights_whatever_the_global_state(ema_decay):
    config = recipe(ema_decay=ema_decay, sampling="instance")
    first = train_classifier(TRAIN, VAL, config, seed=1)
    torch.rand(7)
    state = torch.random.get_rng_state()
    again = train_classifier(TRAIN, VAL, config, seed=1)
    assert same_weights(first, again)
    assert first.temperature == again.temperature
    assert torch.equal(torch.random.get_rng_state(), state)
    other = train_classifier(TRAIN, VAL, config, seed=2)
    assert not same_weights(first, other)


def test_it_learns_and_keeps_the_best_checkpoint_by_validation():
    epochs, steps = [], []
    config = recipe(
        num_steps=45, eval_every=10, shift=0, erase=0.0, learning_rate=3e-3, model_kwargs={}
    )
    classifier = train_classifier(
        TRAIN,
        VAL,
        config,
        seed=0,
        run=TrainingRun(on_epoch=epochs.append, advance=steps.append),
    )
    assert [epoch["step"] for epoch in epochs] == [10, 20, 30, 40, 45]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4, 5]
    assert sum(steps) == 45
    predictions = predict(classifier, gather(VAL))[0].argmax(dim=-1)
    accuracy = (predictions == VAL.labels).double().mean().item()  # macro, for VAL is balanced
    best = max(epoch["val_macro_accuracy"] for epoch in epochs)
    assert accuracy == pytest.approx(best)
    assert best > 0.9
    assert not classifier.training


def test_the_checkpoint_is_the_one_of_the_best_step():
    # On one class of validation images alone, the untrained first steps decide
    epochs = []
    config = recipe(num_steps=8, eval_every=1, sampling="instance")
    val = shaded([0, 0, 6], seed=2)
    run = TrainingRun(on_epoch=epochs.append)
    classifier = train_classifier(TRAIN, val, config, seed=0, run=run)
    recall = (predict(classifier, gather(val))[0].argmax(-1) == 2).double().mean().item()
    assert recall == pytest.approx(max(epoch["val_accuracy"] for epoch in epochs))


def test_retraining_on_real_and_synthetic_images_has_the_same_budget():
    steps = []
    train_classifier(
        TRAIN,
        VAL,
        recipe(),
        seed=0,
        synthetic=shaded([0, 10, 20], seed=3),
        real_share=0.5,
        run=TrainingRun(advance=steps.append),
    )
    assert len(steps) == RECIPE["num_steps"]


def test_the_loss_that_breaks_is_reported_with_its_step():
    config = recipe(optimizer="sgd", learning_rate=100.0, warmup_steps=0, num_steps=20)
    with pytest.raises(InputError, match=r"nan at step \d+ of 20; lower learning_rate \(100\)"):
        train_classifier(TRAIN, VAL, config, seed=0)


def test_sets_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="the validation images have the classes"):
        train_classifier(TRAIN, shaded([2, 2, 2], names=("a", "b", "c")), recipe(), seed=0)
    with pytest.raises(InputError, match="the validation set holds no images"):
        train_classifier(TRAIN, shaded([0, 0, 0]), recipe(), seed=0)
    large = image_set(torch.zeros(1, 3, 32, 32), [2], TRAIN.class_names)
    with pytest.raises(InputError, match=r"synthetic images are \[32, 32\]"):
        train_classifier(TRAIN, VAL, recipe(), seed=0, synthetic=large)


def drawn(sampling, counts, num_steps):
    generator = torch.Generator().manual_seed(0)
    config = recipe(num_steps=num_steps, sampling=sampling)
    batches = training_batches(TrainingImages(shaded(counts)), config, generator)
    return torch.cat([batch.labels for batch in batches]).bincount(minlength=len(counts))


def test_instance_sampling_is_whole_passes():
    assert drawn("instance", [24, 6, 2], num_steps=12).tolist() == [72, 18, 6]


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [("square_root", [4 / 7, 2 / 7, 1 / 7]), ("class_balanced", [1 / 3, 1 / 3, 1 / 3])],
)
def test_classes_are_drawn_as_often_as_the_sampling_says(sampling, expected):
    share = drawn(sampling, [16, 4, 1], num_steps=500) / 4000
    assert share.tolist() == pytest.approx(expected, abs=0.03)


def test_batches_hold_the_images_of_their_labels_from_both_sources():
    synthetic = shaded([4, 4, 4], seed=9)
    generator = torch.Generator().manual_seed(0)
    config = recipe(num_steps=10, batch_size=6, shift=0, horizontal_flip=False, erase=0.0)
    sources = {
        name: {image.numpy().tobytes(): int(label) for image, label in zip(*pair, strict=True)}
        for name, pair in {
            "real": (gather(TRAIN), TRAIN.labels),
            "synthetic": (gather(synthetic), synthetic.labels),
        }.items()
    }
    training = TrainingImages(TRAIN, synthetic, 1 / 3)
    for batch in training_batches(training, config, generator):
        names = []
        for image, label in zip(batch.x, batch.labels, strict=True):
            (name,) = [n for n, known in sources.items() if image.numpy().tobytes() in known]
            assert sources[name][image.numpy().tobytes()] == label
            names.append(name)
        assert sorted(names) == ["real"] * 2 + ["synthetic"] * 4
        assert [name == "synthetic" for name in names] == batch.synthetic.tolist()


def test_augmentation_that_is_off_changes_nothing():
    config = recipe(shift=0, horizontal_flip=False, erase=0.0)
    assert torch.equal(augment(gather(TRAIN), config, torch.Generator()), gather(TRAIN))


def test_flips_mirror_about_half_of_the_images():
    config = recipe(shift=0, erase=0.0)
    x = gather(TRAIN).repeat(20, 1, 1, 1)
    flipped = augment(x, config, torch.Generator().manual_seed(0))
    mirrored = (flipped == x.flip(-1)).flatten(1).all(dim=1)
    kept = (flipped == x).flatten(1).all(dim=1)
    assert (mirrored ^ kept).all()
    assert mirrored.double().mean().item() == pytest.approx(0.5, abs=0.1)


def test_shifts_repeat_the_border_and_go_both_ways():
    config = recipe(shift=2, horizontal_flip=False, erase=0.0)
    ramp = torch.linspace(-1, 1, 16).expand(400, 3, 16, 16)  # brightness tells the column
    shifted = augment(ramp, config, torch.Generator().manual_seed(0))
    offsets = ((shifted[:, 0, 0, 8] - ramp[0, 0, 0, 8]) * 7.5).round().long()
    assert sorted(set(offsets.tolist())) == [-2, -1, 0, 1, 2]
    for image, offset in zip(shifted, offsets.tolist(), strict=True):
        columns = (torch.arange(16) + offset).clamp(0, 15)
        assert torch.equal(image, ramp[0][..., columns])


def test_erasing_greys_one_square_of_each_image_at_most():
    config = recipe(shift=0, horizontal_flip=False, erase=0.5)
    white = torch.ones(200, 3, 16, 16)
    erased = augment(white, config, torch.Generator().manual_seed(0)) == 0
    rows, columns = erased.any(3).sum(2), erased.any(2).sum(2)
    assert torch.equal(erased.sum((2, 3)), rows * columns)  # a rectangle
    assert rows.max() <= 8
    assert erased.any()
    assert erased.flatten(1).any(dim=1).double().mean() > 0.7


def test_the_schedule_rises_to_the_peak_and_falls_along_a_half_cosine():
    factors = [cosine_with_warmup(step, 4, 104) for step in range(104)]
    assert factors[:4] == [0.2, 0.4, 0.6, 0.8]
    assert factors[4] == 1
    assert factors[54] == pytest.approx(0.5)
    assert 0 < factors[-1] < 0.001
    assert factors[4:] == sorted(factors[4:], reverse=True)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_a_scaling_of_calibrated_logits(temperature):
    # Labels in exact proportion to the probabilities: the likelihood is best at temperature 1
    probabilities = torch.tensor([0.6, 0.3, 0.1])
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    logits = temperature * probabilities.log().expand(10, 3)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=1e-3)


def test_the_temperature_stays_in_its_range_without_a_single_error():
    assert 0.05 <= fit_temperature(torch.eye(3), torch.arange(3)) < 0.06


def test_the_recipe_is_read_back_from_the_models_folder(tmp_path):
    config = TrainConfig.model_validate(
        {**RECIPE, "model_kwargs": {"channels": [8, 16, 16, 16]}, "sampling": "square_root"}
    )
    classifier = train_classifier(TRAIN, VAL, config, seed=0)
    training = {"training": config.model_dump()}
    save_classifier(tmp_path, classifier, real_counts=[24, 6, 2], bins={}, extra=training)
    assert read_training(tmp_path) == config
    save_classifier(tmp_path, classifier, real_counts=[24, 6, 2], bins={})
    with pytest.raises(InputError, match="does not say how the classifier was trained"):
        read_training(tmp_path)
    with pytest.raises(InputError, match="there is no classifier"):
        read_training(tmp_path / "absent")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"warmup_steps": 5}, "warmup_steps 5 must be below num_steps 5"),
        ({"label_smoothing": 1.0}, "less than 1"),
        ({"optimizer": "adam"}, "'adamw' or 'sgd'"),
        ({"epochs": 3}, "Extra inputs"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        recipe(**change)


def test_processes_that_read_ahead_change_no_weight(monkeypatch):
    how = {
        "config": recipe(),
        "seed": 2,
        "synthetic": shaded([0, 4, 9], seed=5),
        "real_share": 0.5,
    }
    here = train_classifier(TRAIN, VAL, **how)
    monkeypatch.setattr(dataset, "KEPT_BYTES", 0)
    ahead = train_classifier(TRAIN, VAL, run=TrainingRun(loader_workers=2), **how)
    assert same_weights(here, ahead)
    assert here.temperature == ahead.temperature


def test_a_batch_says_what_is_known_of_its_images():
    real = image_set(torch.zeros(6, 3, 16, 16), [0, 1] * 3, "ab", ["sea", "ice", "ice"] * 2)
    synthetic = image_set(torch.zeros(4, 3, 16, 16), [1] * 4, "ab", ["sea"] * 4)
    training = TrainingImages(real, synthetic, 0.5)
    batch = training.batch([0, 1, 7], torch.zeros(3, 3, 16, 16), progress=0.25)
    assert batch.labels.tolist() == [0, 1, 1]
    assert batch.groups.tolist() == [1, 0, 1]  # of ice and sea
    assert batch.synthetic.tolist() == [False, False, True]
    assert TrainingImages(real, shaded([1, 1], names="ab")).groups is None


def test_a_loss_is_a_class_and_a_name(monkeypatch):
    """A method of training sees the whole batch, and nothing else has to know it."""
    seen = []

    class RealAlone(Loss):
        def __init__(self, priors, label_smoothing):
            super().__init__()
            assert priors.counts.tolist() == [24, 6, 2]

        def forward(self, logits, labels, batch, reduction="mean"):
            real = ~batch.synthetic
            seen.append(real.sum().item())
            return torch.nn.functional.cross_entropy(logits[real], labels[real])

    monkeypatch.setitem(LOSSES, "cross_entropy", RealAlone)
    synthetic = shaded([3, 3, 3], seed=9)
    train_classifier(TRAIN, VAL, recipe(), seed=0, synthetic=synthetic, real_share=0.5)
    assert seen == [4] * 5


class Counting(ImageDataset):
    """A set that counts its batches that are in memory, and the images it read."""

    def __init__(self, images):
        self.__dict__.update(vars(images))
        self.alive, self.most, self.read = 0, 0, 0

    is_kept = False

    def __getitems__(self, rows):
        batch = super().__getitems__(rows)
        self.read += len(rows)
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(batch, self._gone)
        return batch

    def _gone(self):
        self.alive -= 1


def test_of_a_set_that_is_looked_at_two_batches_are_in_memory_at_most(monkeypatch):
    monkeypatch.setattr(predict_module, "PASS_PIXELS", 16 * 16 * 2)
    images = Counting(shaded([10, 10, 10]))
    classifier = create_classifier("test_resnet", {}, images.class_names, 16, seed=0)
    evaluate(classifier, images, dict.fromkeys(images.class_names, "few"), seed=0)
    class_gaussians(classifier, images)
    assert images.read == 60
    assert images.most <= 2


def test_of_a_set_that_is_learnt_from_two_batches_are_in_memory_at_most():
    images = Counting(shaded([10, 10, 10]))
    training = TrainingImages(images)
    rng = torch.Generator().manual_seed(0)
    for _ in training_batches(training, recipe(num_steps=9, sampling="instance"), rng):
        pass
    assert images.read == 72
    assert images.most <= 2


def test_a_training_that_goes_on_reads_no_image_of_the_steps_before():
    images = Counting(shaded([10, 10, 10]))
    training, config = TrainingImages(images), recipe(num_steps=9, sampling="instance")
    whole, rest = (
        list(training_batches(training, config, torch.Generator(), skip=skip)) for skip in (0, 6)
    )
    assert images.read == 9 * 8 + 3 * 8
    for a, b in zip(whole[6:], rest, strict=True):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("changes", [{}, {"shift": 0, "horizontal_flip": False}, {"shift": 40}])
def test_changes_are_the_same_for_bytes_and_floats_and_pass_gradients_on(changes):
    config, pixels = recipe(erase=0.6, **changes), TRAIN.__getitems__(range(8))
    x = from_uint8(pixels).requires_grad_()
    changed = augment(x, config, torch.Generator().manual_seed(4))
    drawn = draw_changes(8, config, torch.Generator().manual_seed(4))
    assert torch.equal(changed, erase_(from_uint8(move(pixels, drawn)), drawn))
    weights = torch.rand_like(changed)
    (changed * weights).sum().backward()
    kept = (weights * (changed != 0)).sum()  # each pixel is a copy of one, or grey
    torch.testing.assert_close(x.grad.sum(), kept, rtol=1e-3, atol=0)
