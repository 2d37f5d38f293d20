"""What of a classifier learns, and the second stage of a training."""

import itertools

import numpy as np
import pytest
import torch
from sets import gather, image_set
from training import TRAIN, VAL, recipe, same_weights, shaded

from fgds_core.classify import refit
from fgds_core.classify.checkpoint import Checkpoint
from fgds_core.classify.heads import last_layer
from fgds_core.classify.losses import LOSSES, CrossEntropy
from fgds_core.classify.network import create_classifier, load_classifier
from fgds_core.classify.phases import PHASES, Stage
from fgds_core.classify.predict import predict
from fgds_core.classify.refit import STRENGTHS, Examples, cells_of, halves, refitted
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.save import save_classifier
from fgds_core.classify.train import train_classifier
from fgds_core.classify.tuning import TUNES
from fgds_core.errors import InputError

X = gather(VAL)
MIXED = {"seed": 1, "synthetic": shaded([0, 10, 20], seed=3), "real_share": 0.5}
STEPWISE = [name for name, phase in PHASES.items() if not phase.fits_on_validation]


def trained(val=VAL, run=TrainingRun(), **changes):
    return train_classifier(TRAIN, val, recipe(**changes), run=run, **MIXED)


@pytest.mark.parametrize("head", ["linear", "cosine"])
@pytest.mark.parametrize("phase", ["crt", "lws", "last_layer_real"])
def test_the_features_stay_bit_for_bit(phase, head):
    first = trained(head=head, ema_decay=0.5)
    second = trained(head=head, ema_decay=0.5, second_stage=phase)
    before, after = predict(first, X), predict(second, X)
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[0], after[0])
    assert all(p.requires_grad for p in second.parameters())
    assert first.state_dict().keys() == second.state_dict().keys()


def test_dfr_keeps_the_features_of_the_checkpoint_that_the_other_half_chose():
    fit, choose = halves(VAL, 1)
    first, second = trained(choose), trained(second_stage="dfr")
    before, after = predict(first, X), predict(second, X)
    assert torch.equal(before[1], after[1])
    examples = [Examples(predict(first, gather(s))[1], s.labels, s.labels) for s in (fit, choose)]
    weight, bias = refitted(*examples, 3, np.random.SeedSequence([1, 1]).generate_state(1)[0])
    expected = before[1].double() @ weight.T + bias
    torch.testing.assert_close(after[0].double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("phase", STEPWISE)
def test_a_second_stage_draws_class_balanced_and_says_how_it_goes(monkeypatch, phase):
    seen, steps, epochs = [], [], []

    class Watching(CrossEntropy):
        def forward(self, logits, labels, batch, reduction="mean"):
            seen.append((labels.tolist(), batch.synthetic.sum().item(), batch.progress))
            return super().forward(logits, labels, batch, reduction)

    monkeypatch.setitem(LOSSES, "cross_entropy", Watching)
    run = TrainingRun(advance=steps.append, on_epoch=epochs.append)
    trained(second_stage=phase, second_stage_steps=6, run=run)
    labels, synthetic, progress = zip(*seen[5:], strict=True)
    assert torch.tensor(labels).flatten().bincount().tolist() == [16] * 3
    assert max(synthetic) == 0 if "real" in phase else min(synthetic) > 0
    assert progress == tuple(n / 6 for n in range(6))
    assert sum(steps) == 11 == recipe(second_stage=phase, second_stage_steps=6).total_steps
    assert [epoch["step"] for epoch in epochs] == [2, 4, 5, 7, 9, 11]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4, 5, 6]


def stage(learn):
    return Stage(recipe(), 3, learn, examine=None)


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_the_scales_of_lws_multiply_the_scores(head):
    classifier = create_classifier("test_resnet", {}, VAL.class_names, 16, 0, head=head).eval()
    before, scales = predict(classifier, X), torch.tensor([0.5, 2.0, 3.0])

    def learn(classifier, real_alone):
        learning = [p for p in classifier.parameters() if p.requires_grad]
        assert [p.tolist() for p in learning] == [[1.0, 1.0, 1.0]]
        learning[0].data.copy_(scales)

    PHASES["lws"].run(classifier, stage(learn))
    torch.testing.assert_close(predict(classifier, X)[0], before[0] * scales)


def test_crt_starts_from_a_new_head():
    classifier = create_classifier("test_resnet", {}, VAL.class_names, 16, seed=0).eval()
    weight = last_layer(classifier.network).weight.clone()
    PHASES["crt"].run(classifier, stage(lambda classifier, real_alone: None))
    assert not torch.equal(last_layer(classifier.network).weight, weight)


class Stop(BaseException):
    """Stands for a kill."""


def every_step(path):
    ticks = itertools.count()
    return Checkpoint(path, "a", 1, lambda: float(next(ticks)))


STOPPED = {
    **{name: {"second_stage": name} for name in PHASES},
    "cosine": {"head": "cosine", "second_stage": "lws"},
    "lora": {"tune": "lora", "second_stage": "real"},
}


@pytest.mark.parametrize("kind", STOPPED)
def test_stopped_at_any_step_of_any_stage_it_ends_with_the_same_weights(tmp_path, kind):
    changes = {"ema_decay": 0.5, "posthoc": "logit_adjustment", **STOPPED[kind]}
    changes |= {"num_steps": 2, "second_stage_steps": 2}
    epochs = []
    whole = trained(run=TrainingRun(on_epoch=epochs.append), **changes)
    total = recipe(**changes).total_steps
    for last in range(1, total + 1):
        path = tmp_path / str(last)
        done, told, again = [], [], []

        def stop(number, done=done, last=last):
            done.append(number)
            if sum(done) == last:
                raise Stop

        with pytest.raises(Stop):
            trained(run=TrainingRun(advance=stop, checkpoint=every_step(path)), **changes)
        torch.rand(3)
        run = TrainingRun(advance=told.append, on_epoch=again.append, checkpoint=every_step(path))
        resumed = trained(run=run, **changes)
        assert told == [last] + [1] * (total - last)
        assert same_weights(whole, resumed)
        assert whole.temperature == resumed.temperature
        assert whole.posthoc_tau == resumed.posthoc_tau
        assert again == epochs


def test_halves_share_each_class_and_cell_and_no_image():
    labels = [0] * 7 + [1] * 2 + [2] * 4
    groups = list("aaabbbb") + list("ab") + list("aabb")
    images = image_set(torch.rand(13, 3, 16, 16), labels, VAL.class_names, groups)
    first, second = halves(images, 0)
    assert sorted([*first._rows, *second._rows]) == list(range(13))
    assert first.labels.bincount().tolist() == [4, 1, 2]
    for part in (first, second):
        assert cells_of(part).bincount().max() <= 2
    with pytest.raises(InputError, match="class light has 1; prepare data with 2 or more"):
        halves(shaded([2, 2, 1]), 0)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_dfr_is_the_mean_of_balanced_l1_regressions(monkeypatch, num_classes):
    """A plain transcription: proximal descent on the objective as it is written."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(num_classes).repeat(12)
    cells = labels * 2 + (torch.arange(len(labels)) % 3 == 0)
    features = torch.randn(len(labels), 4, generator=rng) + 2 * labels[:, None] * torch.tensor(
        [1.0, 0.0, -1.0, 0.0]
    )
    monkeypatch.setattr(refit, "REFITS", 3)
    examples = Examples(features, labels, cells, by_worst=True)
    weight, bias = refitted(examples, examples, num_classes, seed=5)

    mean, std = features.double().mean(0), features.double().std(0, correction=0)
    x = (features.double() - mean) / std
    draw = np.random.default_rng(5)

    def choice():
        rows = []
        smallest = cells.bincount()[cells.unique()].min().item()
        for cell in cells.unique():
            of_cell = torch.nonzero(cells == cell).flatten().numpy()
            rows.append(draw.choice(of_cell, smallest, replace=False))
        return np.concatenate(rows)

    def fitted(rows, strength):
        """Minimises strength * sum of losses + |w|_1 by proximal gradient steps."""
        binary = num_classes == 2
        w = torch.zeros(1 if binary else num_classes, 4, dtype=torch.float64)
        b = torch.zeros(len(w), dtype=torch.float64)
        for _ in range(1500):
            z = x[rows] @ w.T + b
            if binary:
                g = z.sigmoid() - labels[rows, None]
            else:
                g = z.softmax(1) - torch.nn.functional.one_hot(labels[rows], num_classes)
            step = 1 / (strength * len(rows) * 3)
            w = w - step * strength * g.T @ x[rows]
            w = w.sign() * (w.abs() - step).clamp(min=0)
            b = b - step * strength * g.sum(0)
        if binary:
            w, b = torch.cat([0 * w, w]), torch.cat([0 * b, b])
        return w, b - b.mean() if not binary else b

    first = choice()

    def worst(strength):
        w, b = fitted(first, strength)
        right = (x @ w.T + b).argmax(1) == labels
        return min(right[cells == cell].double().mean().item() for cell in cells.unique())

    strength = max(STRENGTHS, key=worst)
    fits = [fitted(choice(), strength) for _ in range(3)]
    w = torch.stack([w for w, _ in fits]).mean(0)
    b = torch.stack([b for _, b in fits]).mean(0)
    expected = x @ w.T + b
    found = features.double() @ weight.T + bias
    if num_classes > 2:
        found = found - found.mean(1, keepdim=True)
        expected = expected - expected.mean(1, keepdim=True)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


@pytest.fixture
def pretrained(tmp_path):
    """Weights of a network of other classes, as a file."""
    other = create_classifier("test_vit", {}, ["a", "b"], 32, seed=7)
    save_classifier(tmp_path, other, real_counts=[1, 1], bins={})
    return str(tmp_path / "model.safetensors")


VIT = {"model": "test_vit", "model_kwargs": {}, "input_size": 32}


def test_a_linear_probe_changes_the_head_alone(pretrained):
    start = create_classifier("test_vit", {}, VAL.class_names, 32, 1, pretrained=pretrained)
    probe = trained(**VIT, pretrained=pretrained, tune="head")
    differing = [
        name
        for name, t in probe.network.state_dict().items()
        if not torch.equal(t, start.network.state_dict()[name])
    ]
    assert sorted(differing) == ["head.bias", "head.weight"]


def test_a_probe_leaves_batch_norms_as_they_are():
    start = create_classifier("test_resnet", {"drop_rate": 0.1}, VAL.class_names, 16, seed=1)
    probe = trained(tune="head", ema_decay=0.5, second_stage="real")
    assert torch.equal(predict(start, X)[1], predict(probe, X)[1])


@pytest.mark.parametrize("model", ["test_vit", "test_resnet"])
def test_low_rank_updates_are_added_to_the_weights(model):
    classifier = create_classifier(model, {}, VAL.class_names, 32, seed=0).eval()
    before = {name: t.clone() for name, t in classifier.state_dict().items()}
    plain = predict(classifier, X)[0]
    with TUNES["lora"](classifier, recipe(tune="lora", lora_rank=2), 0):
        assert torch.equal(predict(classifier, X)[0], plain)  # updates start from nothing
        learning = {n: p for n, p in classifier.named_parameters() if p.requires_grad}
        assert any("lora" in name for name in learning)
        assert all("lora" in n or n.split(".")[1] in ("head", "fc") for n in learning)
        rng = torch.Generator().manual_seed(0)
        for name, p in learning.items():
            if "lora" in name:
                p.data += 0.1 * torch.randn(p.shape, generator=rng)
        unmerged = predict(classifier, X)[0]
    assert classifier.state_dict().keys() == before.keys()
    assert not torch.allclose(unmerged, plain, atol=1e-3)
    torch.testing.assert_close(predict(classifier, X)[0], unmerged, rtol=1e-3, atol=1e-4)
    assert all(p.requires_grad for p in classifier.parameters())


def test_a_network_tuned_by_low_rank_updates_is_an_ordinary_one(tmp_path, pretrained):
    how = {**VIT, "pretrained": pretrained, "tune": "lora", "second_stage": "real"}
    classifier = trained(**how)
    save_classifier(tmp_path / "it", classifier, real_counts=[24, 6, 2], bins={})
    assert torch.equal(predict(load_classifier(tmp_path / "it"), X)[0], predict(classifier, X)[0])
    assert same_weights(classifier, trained(**how))
