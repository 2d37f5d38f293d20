"""Batch normalisation by source, in closed form and beside a network that sees one source."""

import copy

import pytest
import torch
from torch import nn
from training import TRAIN, VAL, recipe, same_weights, shaded

from fgds_core.classify.config import Treatment
from fgds_core.classify.network import create_classifier, load_classifier
from fgds_core.classify.norms import SyntheticNorms, has_batch_norm
from fgds_core.classify.save import save_classifier
from fgds_core.classify.train import train_classifier

SYNTHETIC = torch.tensor([True, False, False, True, False, True, False])


def test_of_one_layer_either_source_has_its_own_mean_and_variance():
    layer = nn.Sequential(nn.BatchNorm1d(2, momentum=0.1, eps=1e-9))
    norms = SyntheticNorms(layer)
    x = torch.randn(7, 2, generator=torch.Generator().manual_seed(0))
    x[SYNTHETIC] = 5 + 3 * x[SYNTHETIC]
    y = norms(layer, x, SYNTHETIC)
    for rows in (SYNTHETIC, ~SYNTHETIC):
        mean, std = x[rows].mean(0), x[rows].std(0, unbiased=False)
        torch.testing.assert_close(y[rows], (x[rows] - mean) / std)
    real = layer[0]
    torch.testing.assert_close(real.running_mean, 0.1 * x[~SYNTHETIC].mean(0))
    torch.testing.assert_close(real.running_var, 0.9 + 0.1 * x[~SYNTHETIC].var(0))
    buffers = dict(norms.named_buffers())
    torch.testing.assert_close(buffers["0/running_mean"], 0.1 * x[SYNTHETIC].mean(0))
    assert buffers["0/num_batches_tracked"] == real.num_batches_tracked == 1


@pytest.mark.parametrize("synthetic", [SYNTHETIC, SYNTHETIC & False, SYNTHETIC | True])
def test_a_network_normalises_each_source_as_one_that_sees_no_other(synthetic):
    classifier = create_classifier("test_resnet", {}, "abc", 16, seed=0).train()
    real_alone, synthetic_alone = copy.deepcopy(classifier), copy.deepcopy(classifier)
    norms = SyntheticNorms(classifier)
    x = torch.rand(7, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    logits = norms(classifier, x, synthetic)
    for alone, rows in ((real_alone, ~synthetic), (synthetic_alone, synthetic)):
        if rows.any():
            assert torch.equal(logits[rows], alone(x[rows]))
    assert same_weights(classifier, real_alone)
    statistics = synthetic_alone.state_dict()
    for name, buffer in norms.named_buffers():
        assert torch.equal(buffer, statistics[name.replace("/", ".")])


def test_an_image_that_is_alone_is_normalised_by_the_statistics_so_far():
    classifier = create_classifier("test_resnet", {}, "abc", 16, seed=0).train()
    norms = SyntheticNorms(classifier)
    before, real_alone = copy.deepcopy(classifier).eval(), copy.deepcopy(classifier)
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    logits = norms(classifier, x, torch.tensor([False, True, False, False]))
    torch.testing.assert_close(logits[1:2], before(x[1:2]))
    assert torch.equal(logits[[0, 2, 3]], real_alone(x[[0, 2, 3]]))
    assert same_weights(classifier, real_alone)
    assert all(layer.training for layer in classifier.modules())


def test_both_learn_and_an_ordinary_network_is_left(tmp_path):
    learners = []

    def keep(norms, *args):
        learners.append(norms)

    hook = nn.modules.module.register_module_forward_hook(
        lambda module, *args: keep(module) if isinstance(module, SyntheticNorms) else None
    )
    try:
        classifier = train_classifier(
            TRAIN,
            VAL,
            recipe(model_kwargs={}),
            seed=0,
            synthetic=shaded([9, 9, 9], seed=3),
            real_share=0.5,
            treatment=Treatment(split_batch_norm=True),
        )
    finally:
        hook.remove()
    weights = dict(classifier.named_parameters())
    for name, own in learners[-1].named_parameters():
        assert not torch.equal(own, weights[name.replace("/", ".")])
    assert own.grad.abs().sum() > 0
    save_classifier(tmp_path, classifier, real_counts=[24, 6, 2], bins={})
    assert same_weights(load_classifier(tmp_path), classifier)


def test_networks_without_batch_normalisation_are_told_apart():
    assert has_batch_norm("test_resnet", {})
    assert has_batch_norm("resnet10t", {"stem_width": 16})
    assert not has_batch_norm("test_vit", {})
    assert has_batch_norm("no such network", {})  # said elsewhere
