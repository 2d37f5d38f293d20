"""The numbers of a set: some are those of the stage assess, the others follow their formulas."""

import pytest
import tiny
import torch
from micro import ROOT, generator_config
from sets import gather, image_set
from torch.nn import functional as F

from assets.corpus import in_target_look
from benchmarks.controls.measures import (
    Critic,
    Yardstick,
    alignment,
    criticised,
    in_look,
    influence,
    judged,
    measured,
    real_of,
    relative_variance,
    seen_by,
    unnoted,
)
from fgds_core.assess.assessment import headline
from fgds_core.assess.config import AssessConfig
from fgds_core.assess.features import tower_of
from fgds_core.classify.network import create_classifier, load_classifier
from fgds_core.classify.save import save_classifier
from fgds_core.data.meta import Meta, write_meta
from fgds_core.data.splits import read_prepared
from fgds_core.feedback.criterion import Seen, Sources
from fgds_core.feedback.registry import load_criterion, needs_of
from fgds_core.feedback.validation import FULL_WEIGHT
from fgds_core.images.table import image_table, write_images
from fgds_core.stages.assess import assess
from fgds_core.synthesis.columns import synthetic_schema
from fgds_core.synthesis.record import part_path, write_synthetic_part
from fgds_core.synthesis.shards import read_synthetic, write_index

NAMES = ("cat", "dog", "emu")
BINS = dict(zip(NAMES, ("many", "medium", "few"), strict=True))
COUNTS = {"train": (30, 20, 8), "val": (25, 25, 25), "synthetic": (0, 24, 30)}
CONFIG = AssessConfig(
    features="clip",
    inception_weights=None,
    min_images_fid=20,
    min_images=20,
    fid_blocks=2,
    kid_subsets=4,
    kid_subset_size=10,
    nearest_k=3,
    bootstrap_samples=4,
    grid_images=0,
    grid_neighbours=1,
)


def pictures(counts, seed):
    """Noise around a colour for each class, and the classes."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    noise = 0.3 * torch.randn(len(labels), 3, 16, 16, generator=rng)
    return torch.eye(3)[labels][:, :, None, None] - 0.5 + noise, labels


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Prepared data, a synthetic set, a guide and a generator of which the tower is there."""
    folder = tmp_path_factory.mktemp("measures")
    digests = {}
    for seed, split in enumerate(("train", "val")):
        x, labels = pictures(COUNTS[split], seed)
        table = image_table(x, labels, NAMES)
        digests[split] = write_images(folder / "prepared" / f"{split}.parquet", table).sha256
    counts = {"train": COUNTS["train"], "val": COUNTS["val"], "test": (0, 0, 0)}
    meta = Meta(NAMES, 16, counts, BINS, None, dict.fromkeys(counts, 0), digests)
    write_meta(folder / "prepared", meta)
    x, labels = pictures(COUNTS["synthetic"], 3)
    extra = unnoted(len(labels)).to_pydict()
    extra["index"] = [index for n in COUNTS["synthetic"] for index in range(n)]
    extra["seed"] = list(range(len(labels)))
    table = image_table(x, labels, NAMES, extra, schema=synthetic_schema(NAMES))
    records = [
        write_synthetic_part(
            folder / "set", part_path(k, NAMES[k], 0), table.filter((labels == k).numpy()), "print"
        )
        for k in (1, 2)
    ]
    wanted = COUNTS["synthetic"]
    write_index(
        folder / "set", records, class_names=NAMES, wanted=wanted, fingerprint="print", made_by={}
    )
    guide = create_classifier("test_resnet", {}, NAMES, 32, seed=0).eval()
    save_classifier(folder / "guide", guide, real_counts=COUNTS["train"], bins=BINS)
    tiny.save(tiny.image_encoder, folder / "generator" / "image_encoder")
    tiny.feature_extractor().save_pretrained(folder / "generator" / "feature_extractor")
    return folder


@pytest.fixture(scope="module")
def yardstick(place):
    tower = tower_of(generator_config(place / "generator"))
    return Yardstick(place / "prepared", place / "guide", tower, CONFIG, seed=5)


@pytest.fixture(scope="module")
def found(place, yardstick):
    return measured(*read_synthetic(place / "set"), yardstick)


def test_what_assess_measures_is_what_assess_says(place, found, tmp_path):
    generator = generator_config(place / "generator")
    inputs = (place / "prepared", place / "set", place / "guide", generator)
    measures = assess(*inputs, CONFIG, 5, tmp_path)
    said = headline(measures)
    assert found["num_images"] == said.pop("num_synthetic")
    assert found["fid"] > 0
    assert said.pop("label_agreement") is None is found["label_agreement"]  # there is no judge
    assert {name: found[name] for name in said} == pytest.approx(said, rel=1e-5)
    of_classes = [measures["per_class"][name]["coverage"]["value"] for name in NAMES[1:]]
    assert found["coverage_by_class"] == pytest.approx(sum(of_classes) / 2, rel=1e-5)
    losses = [measures["per_class"][name]["baseline"]["loss"] for name in NAMES[1:]]
    excess = sum(loss["synthetic"] - loss["real"] for loss in losses) / 2
    assert found["guide_excess_loss"] == pytest.approx(excess, abs=1e-5)


def test_images_without_notes_of_their_drawing_are_measured_the_same(place, yardstick, found):
    images, _ = read_synthetic(place / "set")
    assert measured(images, None, yardstick) == found


def test_real_images_are_shown_to_the_networks_once(yardstick):
    assert real_of(yardstick) is real_of(Yardstick(**vars(yardstick)))


def test_real_images_measure_as_real_ones_do(place, yardstick):
    found = measured(read_prepared(place / "prepared", "val"), None, yardstick)
    for name in ("variance", "nearest_train", "guide_variance", "guide_alignment"):
        assert found[name] == pytest.approx(1)
    assert found["guide_excess_loss"] == pytest.approx(0, abs=1e-9)
    assert found["probe_auc"] < 0.55  # the same images twice


def test_variance_is_relative_to_that_of_real_images_of_the_class():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=rng, dtype=torch.float64).numpy()
    labels = torch.arange(40).remainder(2).numpy()
    shifted = 2 * x + 10 * labels[:, None]  # four times the variance, wherever the classes lie
    assert relative_variance(shifted, labels, x, labels) == pytest.approx(4)
    assert relative_variance(x, labels, x, labels + 2) is None


def some_seen(num_images, seed):
    rng = torch.Generator().manual_seed(seed)
    features = torch.randn(num_images, 5, generator=rng, dtype=torch.float64)
    return features, torch.randint(0, 3, (num_images,), generator=rng)


def test_influence_is_the_inner_product_of_gradients():
    """Beside autograd: the validation losses of all classes, and each image's loss."""
    layer = torch.nn.Linear(5, 3, dtype=torch.float64)
    weights = tuple(layer.parameters())

    def gradient(x, labels):
        loss = F.cross_entropy(layer(x), labels)
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights)])

    val, val_labels = some_seen(30, 0)
    x, labels = some_seen(8, 1)
    of_class = [gradient(val[val_labels == k], val_labels[val_labels == k]) for k in range(3)]
    expected = []
    for image, label in zip(x, labels, strict=True):
        products = [gradient(image[None], label[None]) @ g for g in of_class]
        own = products.pop(label)
        expected.append((own - sum(products) / 2).item())
    with torch.no_grad():
        critic = Critic(None, None, Seen(layer(val), val), val_labels)
        seen = Seen(layer(x), x)
        assert influence(seen, labels, critic).tolist() == pytest.approx(expected)
        all_classes = torch.stack(of_class)[labels.unique()].mean(dim=0)
    means = [gradient(x[labels == k], labels[labels == k]) for k in labels.unique()]
    cosine = F.cosine_similarity(torch.stack(means).mean(dim=0), all_classes, dim=0).item()
    assert alignment(seen, labels, critic) == pytest.approx(cosine)


def test_influence_is_that_which_feedback_climbs_but_for_its_shrinkage(place):
    val, (images, _) = read_prepared(place / "prepared", "val"), read_synthetic(place / "set")
    classifier = load_classifier(place / "guide")

    def see(x):
        with torch.no_grad():
            return Seen(*classifier.logits_and_features(x))

    sources = Sources(place / "guide", (classifier,), see, lambda split: val, 0, "cpu")
    known = needs_of("influence").find(None, sources)
    seen = seen_by(classifier, images)
    climbed = load_criterion("influence")(seen, images.labels, known)
    ours = influence(seen, images.labels, Critic(None, None, seen_by(classifier, val), val.labels))
    of_class = COUNTS["val"][0]  # images of each class
    assert climbed.tolist() == pytest.approx(
        (of_class / (of_class + FULL_WEIGHT) * ours).tolist(), rel=1e-3, abs=1e-6
    )


def test_harder_images_have_more_loss_and_the_judge_is_less_sure_of_them():
    labels = torch.tensor([0, 1, 2])
    sure, unsure = (
        Seen(scale * torch.eye(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64))
        for scale in (6, 1)
    )
    critic = Critic(None, None, sure, labels)
    easy, hard = criticised(sure, labels, critic), criticised(unsure, labels, critic)
    assert easy["excess_loss"] == 0 < hard["excess_loss"]
    assert hard["loss"] - easy["loss"] == pytest.approx(hard["excess_loss"])
    assert hard["entropy"] > easy["entropy"]
    assert easy["hardness"] is None  # it has no Gaussians
    assert judged(sure, labels)["judge_margin"] == pytest.approx(6)
    assert judged(sure, labels.roll(1))["judge_margin"] == pytest.approx(-6)


def test_the_target_look_is_that_of_the_embedded_pictures():
    images = read_embedded("fashion-lt")
    assert in_target_look(gather(images)).double().mean() > 0.9
    white = torch.ones(2, 3, 32, 32)
    assert in_target_look(torch.cat([white, -white])).tolist() == [False, False, True, True]


def read_embedded(name):
    from fgds_core.images.dataset import read_images

    images = read_images(ROOT / "assets" / name / "validation.parquet")
    return images.select(range(0, len(images), 10))


class WithGroups:
    """Pixels' mean colour as features: what `in_look` reads of a set."""

    def __init__(self, colours, groups):
        from fgds_core.assess.vectors import Features

        x = torch.tensor(colours)[:, :, None, None].expand(-1, 3, 8, 8)
        self.images = image_set(x, [0] * len(x), ("cat",), groups)
        self.features = Features.of(x.mean(dim=(2, 3)).numpy())


def test_with_groups_it_is_the_ground_that_was_asked_for():
    red, blue = (1.0, -1.0, -1.0), (-1.0, -1.0, 1.0)
    real = type("Real", (), {"val": WithGroups([red, blue] * 5, ["red", "blue"] * 5)})
    drawn = WithGroups([red, red, red, blue], ["red", "red", "blue", "blue"])
    assert in_look(drawn, real) == 0.75
    assert in_look(WithGroups([red], None), real) is None


def test_a_set_is_seen_whole(place):
    images = read_prepared(place / "prepared", "val")
    classifier = create_classifier("test_resnet", {}, NAMES, 32, seed=0).eval()
    seen = seen_by(classifier, images)
    assert seen.logits.shape == (75, 3)
    with torch.no_grad():
        assert torch.allclose(seen.logits[:4].float(), classifier(gather(images)[:4]), atol=1e-5)
