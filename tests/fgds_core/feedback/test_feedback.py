import errno
import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from micro import synthesize_config
from safetensors.torch import save_file
from sets import gather, image_set

from fgds_core.classify.network import load_classifier
from fgds_core.diffusion.noise import stream
from fgds_core.errors import InputError
from fgds_core.feedback.criteria.entropy import entropy
from fgds_core.feedback.criteria.hardness import hardness
from fgds_core.feedback.criteria.loss import loss
from fgds_core.feedback.criterion import NOTHING, Known, Seen
from fgds_core.feedback.critic import Feedback, TrainingAugmentation
from fgds_core.feedback.fit import class_gaussians, fit_class_gaussians, ledoit_wolf
from fgds_core.feedback.gaussians import ClassGaussians
from fgds_core.feedback.load import load_feedback
from fgds_core.feedback.registry import load_criterion
from fgds_core.feedback.targets import MEASURED, criteria_on_real
from fgds_core.images.augment import augment


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


LABELS = torch.tensor([0, 2, 1, 2])
COUNTS = (10, 10, 10)


def seen(logits=None, features=None) -> Seen:
    return Seen(
        randn(4, 3) if logits is None else logits, randn(4, 6) if features is None else features
    )


def gaussians(num_features: int = 6) -> ClassGaussians:
    root = randn(num_features, num_features, seed=5)
    covariance = root @ root.T + torch.eye(num_features, dtype=torch.float64)
    return ClassGaussians(
        randn(3, num_features, seed=6),
        torch.linalg.inv(covariance),
        torch.logdet(covariance),
        torch.tensor(0.0),
    )


def test_entropy_is_log_k_for_a_uniform_prediction_and_never_more():
    uniform = entropy(seen(torch.zeros(4, 3, dtype=torch.float64)), LABELS, NOTHING)
    torch.testing.assert_close(uniform, torch.full_like(uniform, math.log(3)))
    values = entropy(seen(10 * randn(4, 3)), LABELS, NOTHING)
    assert (values >= 0).all()
    assert (values <= math.log(3)).all()


def test_loss_and_entropy_are_those_of_torch():
    logits = 3 * randn(4, 3)
    torch.testing.assert_close(
        loss(seen(logits), LABELS, NOTHING),
        torch.nn.functional.cross_entropy(logits, LABELS, reduction="none"),
    )
    torch.testing.assert_close(
        entropy(seen(logits), LABELS, NOTHING),
        torch.distributions.Categorical(logits=logits).entropy(),
    )


def test_hardness_is_the_negative_log_likelihood_of_a_gaussian():
    known = gaussians()
    expected = torch.distributions.MultivariateNormal(
        known.means[LABELS], precision_matrix=known.precision
    ).log_prob(seen().features)
    torch.testing.assert_close(
        hardness(seen(), LABELS, Known(known)), -expected, rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("name", sorted(MEASURED))
def test_gradients_agree_with_finite_differences(name):
    known = Known(gaussians())

    def values(logits, features):
        members = torch.stack([logits, 2 * logits.roll(1, 0)]).log_softmax(dim=-1)
        return load_criterion(name)(Seen(logits, features, members), LABELS, known)

    inputs = (randn(4, 3).requires_grad_(), randn(4, 6).requires_grad_())
    assert torch.autograd.gradcheck(values, inputs)


@pytest.mark.parametrize("name", ["loss", "entropy"])
def test_gradients_are_finite_at_extreme_logits(name):
    logits = torch.tensor([[200.0, 0.0, -200.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    value = load_criterion(name)(Seen(logits, torch.zeros(2, 1)), torch.tensor([2, 0]), NOTHING)
    value.sum().backward()
    assert value.isfinite().all()
    assert logits.grad.isfinite().all()


def fit(features: torch.Tensor, labels: torch.Tensor, num_classes: int) -> ClassGaussians:
    return fit_class_gaussians(features.split(7), labels, num_classes)


@pytest.mark.parametrize("blocks", [1, 3, 50])
@pytest.mark.parametrize("shape", [(50, 3), (50, 80), (2, 5), (50, 1)])
def test_the_covariance_in_blocks_is_that_of_scikit_learn(shape, blocks):
    from sklearn.covariance import LedoitWolf

    spread = torch.linspace(0.1, 3, shape[1], dtype=torch.float64)
    x = (randn(*shape, seed=4) * spread).numpy()
    known = LedoitWolf(assume_centered=True).fit(x)
    covariance, shrinkage = ledoit_wolf(part for part in np.array_split(x, blocks) if len(part))
    np.testing.assert_allclose(covariance, known.covariance_, rtol=0, atol=1e-10)
    if shape[1] > 1:  # of one number there is nothing to shrink
        assert shrinkage == pytest.approx(known.shrinkage_, abs=1e-10)


def test_three_images_a_class_and_512_features_are_finite_and_ordered_as_with_plenty():
    num_classes, num_features = 5, 512
    centres = 3 * randn(num_classes, num_features)
    spread = torch.linspace(0.2, 2.0, num_features, dtype=torch.float64)

    def features(per_class: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(num_classes).repeat_interleave(per_class)
        return centres[labels] + spread * randn(len(labels), num_features, seed=seed), labels

    few = fit(*features(3, seed=1), num_classes)
    plenty = fit(*features(400, seed=2), num_classes)
    assert few.log_det.isfinite()
    assert few.precision.isfinite().all()

    direction = randn(num_features, seed=3)
    probes = centres[0] + torch.linspace(0, 4, 9, dtype=torch.float64)[:, None] * direction
    labels = torch.zeros(9, dtype=torch.int64)
    logits = torch.zeros(9, num_classes)
    hard_few = hardness(Seen(logits, probes), labels, Known(few))
    hard_plenty = hardness(Seen(logits, probes), labels, Known(plenty))
    assert hard_few.isfinite().all()
    assert torch.equal(hard_few.argsort(), hard_plenty.argsort())


def test_the_fit_survives_dead_features_and_absent_classes():
    features = torch.cat([randn(12, 4), torch.zeros(12, 2, dtype=torch.float64)], dim=1)
    known = fit(features, torch.arange(12) % 2, 3)
    torch.testing.assert_close(known.means[2].double(), features.mean(dim=0), rtol=0, atol=1e-6)
    values = hardness(
        Seen(torch.zeros(12, 3), features.float()), torch.full((12,), 2), Known(known)
    )
    assert values.isfinite().all()


def test_features_that_find_no_room_are_told_where(tiny_classifier: Path, monkeypatch):
    classifier = load_classifier(tiny_classifier)
    images = image_set(torch.zeros(3, 3, 16, 16), [0, 1, 2], classifier.class_names)
    monkeypatch.setattr("tempfile.TemporaryFile", partial(Path("/dev/full").open, "wb"))
    with pytest.raises(InputError, match=r"cannot keep features in .* set TMPDIR"):
        class_gaussians(classifier, images)


def test_what_keeps_images_from_being_read_is_no_want_of_room(tiny_classifier: Path, monkeypatch):
    classifier = load_classifier(tiny_classifier)
    images = image_set(torch.zeros(3, 3, 16, 16), [0, 1, 2], classifier.class_names)

    def refused(*arguments):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(type(images), "__getitems__", refused)
    with pytest.raises(OSError, match="Too many open files"):
        class_gaussians(classifier, images)


def test_class_gaussians_survive_the_disk(tmp_path: Path):
    known = fit(randn(20, 6), torch.arange(20) % 3, 3)
    known.save(tmp_path / "statistics.safetensors")
    again = ClassGaussians.load(tmp_path / "statistics.safetensors")
    for name in ("means", "precision", "log_det", "shrinkage"):
        assert torch.equal(getattr(again, name), getattr(known, name))


def test_a_missing_or_damaged_statistics_file_is_named(tmp_path: Path):
    path = tmp_path / "statistics.safetensors"
    with pytest.raises(InputError, match=r"statistics\.safetensors"):
        ClassGaussians.load(path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="train the baseline again"):
        ClassGaussians.load(path)


def test_feedback_off_loads_nothing(tmp_path: Path):
    assert load_feedback(synthesize_config(feedback="none"), [tmp_path], [], []) is None
    assert load_feedback(synthesize_config(feedback_scale=0.0), [tmp_path], [], []) is None


def test_real_images_set_the_limits(tiny_classifier: Path):
    classifier = load_classifier(tiny_classifier)
    stored = json.loads((tiny_classifier / "config.json").read_text())
    for name in sorted(MEASURED):
        feedback = load_feedback(
            synthesize_config(feedback=name, feedback_target="real"),
            [tiny_classifier],
            [classifier],
            COUNTS,
        )
        torch.testing.assert_close(
            feedback.limits, torch.tensor(stored["criterion_on_real"][name])
        )


def describe(folder: Path, **entries: object) -> None:
    """Writes the least that describes a classifier."""
    least = {
        "model": "test_resnet",
        "model_kwargs": {},
        "class_names": ["cat", "dog", "owl"],
        "input_size": 8,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bilinear",
    }
    (folder / "config.json").write_text(json.dumps(least | entries))


def test_limits_that_were_never_measured_are_asked_for(tmp_path: Path, tiny_classifier: Path):
    describe(tmp_path)
    with pytest.raises(InputError, match=r"criterion_on_real\.entropy"):
        load_feedback(
            synthesize_config(feedback_target="real"),
            [tmp_path],
            [load_classifier(tiny_classifier)],
            COUNTS,
        )


def test_criteria_on_real_are_class_means_and_null_without_images(tiny_classifier: Path):
    classifier = load_classifier(tiny_classifier)
    known = ClassGaussians.load(tiny_classifier / "feature_statistics.safetensors")
    labels = torch.tensor([0, 2, 0, 2, 2])
    images = image_set(randn(5, 3, 16, 16).float(), labels, classifier.class_names)
    measured = criteria_on_real(classifier, known, images)
    with torch.no_grad():
        values = Feedback(loss, (classifier,))(gather(images), labels)
    means = measured["criterion_on_real"]["loss"]
    assert means[0] == pytest.approx(float(values[[0, 2]].mean()), abs=1e-6)
    assert means[1] is None
    assert means[2] == pytest.approx(float(values[[1, 3, 4]].mean()), abs=1e-6)


def test_calibration_divides_the_logits(tiny_classifier: Path):
    classifier = load_classifier(tiny_classifier)
    images = randn(4, 3, 16, 16).float()
    plain = Feedback(entropy, (classifier,))(images, LABELS)
    classifier.temperature = 1e4
    assert torch.equal(plain, Feedback(entropy, (classifier,))(images, LABELS))
    calibrated = Feedback(entropy, (classifier,), calibrated=True)(images, LABELS)
    torch.testing.assert_close(calibrated, torch.full((4,), math.log(3)), rtol=0, atol=1e-6)


class Recording:
    """A classifier that keeps what it was shown."""

    class_names = ("cat", "dog", "owl")
    temperature = 1.0

    def logits_and_features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.seen = x
        return x.flatten(1)[:, :3], x.flatten(1)


@pytest.fixture
def augmented(tmp_path: Path) -> Feedback:
    training = {"shift": 2, "horizontal_flip": True, "erase": 0.4}
    describe(tmp_path, training=training, image_size=8)
    return load_feedback(
        synthesize_config(feedback_augment=True), [tmp_path], [Recording()], COUNTS
    )


def test_each_image_is_changed_by_its_own_chance_whatever_its_batch(augmented):
    x, labels = torch.randn(3, 3, 8, 8), torch.zeros(3, dtype=torch.int64)
    augmented(x, labels, [stream(seed, "changes") for seed in range(3)])
    together = augmented.classifiers[0].seen
    augmented(x[2:], labels[2:], [stream(2, "changes")])
    assert torch.equal(augmented.classifiers[0].seen, together[2:])
    assert not torch.equal(together, x)
    augmented(x, labels)
    assert torch.equal(augmented.classifiers[0].seen, x)


def test_gradients_pass_through_the_changes(augmented):
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    value = augmented(x, torch.zeros(2, dtype=torch.int64), [stream(s, "c") for s in range(2)])
    (grad,) = torch.autograd.grad(value.sum(), x)
    assert (grad.flatten(1).norm(dim=1) > 0).all()


def test_images_on_another_device_than_the_chances_are_changed_there():
    change = TrainingAugmentation(shift=2, horizontal_flip=True, erase=0.4, image_size=8)
    x = torch.empty(2, 3, 8, 8, device="meta")
    assert augment(x, change, stream(0, "changes")).device.type == "meta"


def test_shifts_keep_their_share_of_the_image(augmented):
    assert augmented.augmentation.at(16).shift == 4
    assert augmented.augmentation.at(4).shift == 1


def test_changes_need_what_the_baseline_says_of_its_training(tmp_path: Path):
    training = {"shift": 2, "horizontal_flip": True, "erase": 0.4}
    for entries in (
        {},
        {"training": training},
        {"training": training | {"shift": "2"}, "image_size": 8},
        {"training": training | {"erase": 1.5}, "image_size": 8},
        {"training": {"shift": 2}, "image_size": 8},
    ):
        describe(tmp_path, **entries)
        with pytest.raises(InputError, match="needs the entries training and image_size"):
            load_feedback(
                synthesize_config(feedback_augment=True), [tmp_path], [Recording()], COUNTS
            )


STATISTICS = {
    "means": torch.zeros(3, 16),
    "precision": torch.eye(16),
    "log_det": torch.tensor(0.0),
    "shrinkage": torch.tensor(0.1),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": None}, "holds no feature statistics"),
        ({"surplus": torch.zeros(2)}, "holds no feature statistics"),
        ({"precision": torch.eye(3)}, "holds no feature statistics"),
        ({"means": torch.zeros(3)}, "holds no feature statistics"),
        ({"means": torch.zeros(3, 16, dtype=torch.int64)}, "holds no feature statistics"),
        ({"log_det": torch.zeros(1)}, "holds no feature statistics"),
        ({"log_det": torch.tensor(math.nan)}, "NaN or infinite"),
        ({"means": torch.zeros(4, 16)}, "describes 4 classes by 16 features"),
        (
            {"means": torch.zeros(3, 5), "precision": torch.eye(5)},
            "describes 3 classes by 5 features",
        ),
    ],
)
def test_statistics_that_make_no_sense_are_refused(
    tmp_path: Path, tiny_classifier: Path, change: dict[str, torch.Tensor | None], message: str
):
    classifier = load_classifier(tiny_classifier)
    tensors = {name: t for name, t in (STATISTICS | change).items() if t is not None}
    save_file(tensors, tmp_path / "feature_statistics.safetensors")
    with pytest.raises(InputError, match=message) as caught:
        load_feedback(synthesize_config(feedback="hardness"), [tmp_path], [classifier], COUNTS)
    assert "feature_statistics.safetensors" in str(caught.value)
