"""The last layer: its kinds, and what is folded into it."""

import copy
import json

import pytest
import torch
from sets import gather
from torch import nn
from training import RECIPE, TRAIN, VAL, recipe, same_weights, shaded

from fgds_core.classify.heads import CosineLinear, fold, last_layer, new_head
from fgds_core.classify.network import create_classifier, load_classifier
from fgds_core.classify.posthoc import TAUS, correct
from fgds_core.classify.predict import predict
from fgds_core.classify.save import save_classifier
from fgds_core.classify.train import train_classifier
from fgds_core.errors import InputError

NAMES = TRAIN.class_names
X = gather(VAL)


def classifier_of(model="test_resnet", head="linear", seed=0):
    size = 16 if model == "test_resnet" else 32
    return create_classifier(model, {}, NAMES, size, seed, head=head).eval()


def test_a_cosine_head_scores_by_the_angle_alone():
    head = CosineLinear(5, 3)
    features = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    cosines = torch.cosine_similarity(features[:, None], head.weight[None], dim=-1)
    torch.testing.assert_close(head(features), 30 * cosines)
    torch.testing.assert_close(head(7 * features), head(features))


@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_a_cosine_head_is_made_saved_loaded_and_guided_with(tmp_path, model):
    classifier = classifier_of(model, "cosine")
    logits, features = predict(classifier, X)
    weight = last_layer(classifier.network).weight
    cosines = torch.cosine_similarity(features[:, None], weight[None], dim=-1)
    torch.testing.assert_close(logits, 30 * cosines, rtol=1e-4, atol=1e-4)
    save_classifier(tmp_path, classifier, real_counts=[1] * 3, bins={})
    assert json.loads((tmp_path / "config.json").read_text())["head"] == "cosine"
    again = load_classifier(tmp_path)
    assert again.head == "cosine"
    assert torch.equal(predict(again, X)[0], logits)
    x = X.clone().requires_grad_()
    again.logits_and_features(x)[0].logsumexp(dim=1).sum().backward()
    assert x.grad.abs().sum() > 0


def test_a_folder_that_names_no_head_has_a_linear_one(tmp_path):
    classifier = classifier_of()
    save_classifier(tmp_path, classifier, real_counts=[1] * 3, bins={})
    card = json.loads((tmp_path / "config.json").read_text())
    older = {key: value for key, value in card.items() if key not in ("head", "posthoc_tau")}
    (tmp_path / "config.json").write_text(json.dumps(older))
    again = load_classifier(tmp_path)
    assert (again.head, again.posthoc_tau) == ("linear", None)
    assert torch.equal(predict(again, X)[0], predict(classifier, X)[0])


def test_the_seed_alone_decides_a_new_head():
    heads = [last_layer(classifier_of(head="cosine", seed=seed).network) for seed in (1, 1, 2)]
    assert torch.equal(heads[0].weight, heads[1].weight)
    assert not torch.equal(heads[0].weight, heads[2].weight)
    before = torch.get_rng_state()
    new_head(classifier_of().network, "linear", 3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("layer", [nn.Linear(5, 3), CosineLinear(5, 3)])
def test_a_fold_changes_the_scores_as_it_says(layer):
    layer = copy.deepcopy(layer)
    features = torch.randn(4, 5)
    factor, offset = torch.tensor([0.5, 2.0, 3.0]), torch.tensor([1.0, -2.0, 0.0])
    with torch.no_grad():
        expected = layer(features) * factor + offset
        fold(layer, factor, offset)
        torch.testing.assert_close(layer(features), expected)


def test_a_network_without_one_linear_layer_there_is_refused():
    with pytest.raises(InputError, match="Sequential has no single linear layer"):
        last_layer(nn.Sequential(nn.Linear(2, 3)))
    with pytest.raises(InputError, match="no bias"):
        fold(nn.Linear(2, 3, bias=False), torch.ones(3), torch.ones(3))


COUNTS = torch.tensor([24, 6, 2])


def lopsided(head="linear"):
    """A classifier that tells the classes but prefers the first."""
    config = recipe(head=head, num_steps=30, eval_every=30, learning_rate=3e-3, shift=0, erase=0.0)
    classifier = train_classifier(TRAIN, VAL, config, seed=0)
    last_layer(classifier.network).bias.data += 1.2 * (COUNTS / 32).log()
    return classifier


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_logit_adjustment_is_a_subtraction_of_log_priors(head):
    classifier = lopsided(head)
    before = predict(classifier, X)[0]
    correct(classifier, "logit_adjustment", COUNTS, VAL)
    tau = classifier.posthoc_tau
    assert tau > 0
    expected = before - tau * (COUNTS / 32).log()
    torch.testing.assert_close(predict(classifier, X)[0], expected, rtol=1e-4, atol=1e-4)


def test_tau_normalization_divides_weights_by_their_norm_and_drops_the_bias():
    classifier = lopsided()
    layer = copy.deepcopy(last_layer(classifier.network))
    correct(classifier, "tau_normalization", COUNTS, VAL)
    after, tau = last_layer(classifier.network), classifier.posthoc_tau
    rows = [w / w.norm() ** tau for w in layer.weight]
    torch.testing.assert_close(after.weight, torch.stack(rows))
    assert not after.bias.any()


def test_tau_0_of_the_normalization_is_the_layer_without_its_bias(monkeypatch):
    monkeypatch.setattr("fgds_core.classify.posthoc.TAUS", (0.0,))
    classifier = lopsided()
    weight = last_layer(classifier.network).weight.clone()
    correct(classifier, "tau_normalization", COUNTS, VAL)
    assert torch.equal(last_layer(classifier.network).weight, weight)
    assert not last_layer(classifier.network).bias.any()


def test_tau_normalization_leaves_weights_of_0_as_they_are(monkeypatch):
    monkeypatch.setattr("fgds_core.classify.posthoc.TAUS", (2.0,))
    classifier = lopsided()
    layer = last_layer(classifier.network)
    layer.weight.data[1] = 0  # as an L1 regression of two classes leaves the first
    correct(classifier, "tau_normalization", COUNTS, VAL)
    assert not layer.weight[1].any()
    assert layer.weight.isfinite().all()
    assert layer.bias.isfinite().all()


@pytest.mark.parametrize("name", ["logit_adjustment", "tau_normalization"])
def test_tau_is_the_smallest_of_the_best_on_validation(name):
    classifier = lopsided()
    logits, layer = predict(classifier, X)[0], copy.deepcopy(last_layer(classifier.network))
    accuracies = []
    for tau in TAUS:
        if name == "logit_adjustment":
            scores = logits - tau * (COUNTS / 32).log()
        else:
            scores = (logits - layer.bias) / layer.weight.norm(dim=1) ** tau
        right = scores.argmax(dim=1) == VAL.labels
        accuracies.append(sum(right[VAL.labels == c].float().mean().item() for c in range(3)))
    correct(classifier, name, COUNTS, VAL)
    assert TAUS.index(classifier.posthoc_tau) == accuracies.index(max(accuracies))


def test_a_class_without_images_counts_as_one_of_one():
    first, second = lopsided(), lopsided()
    correct(first, "logit_adjustment", torch.tensor([24, 6, 0]), VAL)
    correct(second, "logit_adjustment", torch.tensor([24, 6, 1]), VAL)
    assert same_weights(first, second)
    assert all(t.isfinite().all() for t in first.state_dict().values())


def test_the_training_corrects_by_real_counts_and_the_folder_says_how_much(tmp_path):
    how = {"seed": 1, "synthetic": shaded([0, 10, 20], seed=3), "real_share": 0.5}
    plain = train_classifier(TRAIN, VAL, recipe(), **how)
    corrected = train_classifier(TRAIN, VAL, recipe(posthoc="logit_adjustment"), **how)
    correct(plain, "logit_adjustment", COUNTS, VAL)
    assert same_weights(plain, corrected)
    notes = {"training": RECIPE}
    save_classifier(tmp_path, corrected, real_counts=[24, 6, 2], bins={}, extra=notes)
    card = json.loads((tmp_path / "config.json").read_text())
    assert card["posthoc_tau"] == plain.posthoc_tau == load_classifier(tmp_path).posthoc_tau
