"""However a training is computed, its weights are those of the plain one, or close to them."""

import warnings
from functools import partial

import pytest
import torch
from pydantic import ValidationError
from sets import gather
from training import TRAIN, VAL, recipe, same_weights

from fgds_core.classify.batches import Batch
from fgds_core.classify.learner import Learner, micro_batches
from fgds_core.classify.losses import LOSSES, CrossEntropy
from fgds_core.classify.network import create_classifier
from fgds_core.classify.priors import Priors
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.train import train_classifier
from fgds_core.errors import InputError
from fgds_core.stages.trial import try_training

PRIORS = Priors(torch.ones(3), None)
NO_BATCH_NORM = {
    "model": "test_vit",
    "model_kwargs": {},
    "optimizer": "sgd",  # Adam makes large differences of small ones where gradients are near 0
    "learning_rate": 0.05,
    "erase": 0.0,
}
"""A network in which no image of a batch has to do with another."""


def trained(run=TrainingRun(), **changes):
    return train_classifier(TRAIN, VAL, recipe(**changes), seed=1, run=run)


def learning(config):
    network = (config.model, config.model_kwargs, TRAIN.class_names, config.input_size)
    return Learner(create_classifier(*network, 0), config, 0, PRIORS, TrainingRun())


def close(first, second, rtol):
    for name, weights in first.state_dict().items():
        other = second.state_dict()[name]
        assert weights.dtype == other.dtype == torch.float32 or not other.is_floating_point()
        torch.testing.assert_close(weights, other, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("accumulate_steps", [2, 8])
def test_micro_batches_give_the_weights_of_the_whole_batch(accumulate_steps):
    whole = trained(**NO_BATCH_NORM)
    apart = trained(**NO_BATCH_NORM, accumulate_steps=accumulate_steps)
    close(whole, apart, rtol=1e-5)


def test_a_loss_sees_micro_batches_that_are_the_batch_together(monkeypatch):
    seen = []

    class Recording(CrossEntropy):
        def forward(self, logits, labels, batch, reduction="mean"):
            seen.append(batch)
            return super().forward(logits, labels, batch, reduction)

    monkeypatch.setitem(LOSSES, "cross_entropy", Recording)
    trained(sampling="instance", num_steps=2)
    whole, seen[:] = list(seen), []
    trained(sampling="instance", num_steps=2, accumulate_steps=4)
    assert [len(batch.x) for batch in seen] == [2] * 8
    assert [batch.progress for batch in seen] == [0.0] * 4 + [0.5] * 4
    for name in ("x", "labels", "synthetic"):
        first, second = (torch.cat([getattr(b, name) for b in s]) for s in (whole, seen))
        assert torch.equal(first, second)


def test_micro_batches_keep_what_there_is_of_an_image_together():
    batch = Batch(torch.rand(5, 3, 2, 2), torch.arange(5), None, torch.arange(5) > 2, 0.5)
    parts = list(micro_batches(batch, 2))
    assert [part.labels.tolist() for part in parts] == [[0, 1], [2, 3], [4]]
    assert [part.synthetic.tolist() for part in parts] == [[False] * 2, [False, True], [True]]
    assert {(part.groups, part.progress) for part in parts} == {(None, 0.5)}


def test_a_batch_is_divided_evenly_or_not_at_all():
    with pytest.raises(ValidationError, match="accumulate_steps 3 must divide batch_size 8"):
        recipe(accumulate_steps=3)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_the_networks_alone(precision, monkeypatch):
    computed = []

    class Recording(CrossEntropy):
        def forward(self, logits, labels, batch, reduction="mean"):
            computed.append(logits.dtype)
            return super().forward(logits, labels, batch, reduction)

    monkeypatch.setitem(LOSSES, "cross_entropy", Recording)
    learner = learning(recipe(**NO_BATCH_NORM, precision=precision, ema_decay=0.5))
    batch = Batch(gather(TRAIN)[:8], TRAIN.labels[:8], None, torch.zeros(8, dtype=torch.bool))
    kept = []
    learner.classifier.network.register_forward_hook(lambda *of: kept.append(of[2].dtype))
    for step in (1, 2):
        learner.learn(step, batch)
    learner.validate(2, VAL)
    assert kept[:2] == [getattr(torch, precision)] * 2
    assert computed == [torch.float32] * 2
    standing = learner.standing(2, [])
    for state in ("classifier", "averaged", "best_state"):
        assert {t.dtype for t in standing[state].values()} == {torch.float32}
    kinds = {t.dtype for s in learner.optimizer.state.values() for t in s.values()}
    assert kinds <= {torch.float32}


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_ends_near_where_full_precision_does(precision):
    losses = {}
    for name in ("float32", precision):
        epochs = []
        trained(TrainingRun(on_epoch=epochs.append), **NO_BATCH_NORM, precision=name)
        losses[name] = [epoch["train_loss"] for epoch in epochs]
    assert losses[precision] != losses["float32"]
    assert losses[precision] == pytest.approx(losses["float32"], rel=0.03)


def test_a_step_whose_scaled_gradients_overflow_is_left_out_and_the_scale_halved():
    config = recipe(**NO_BATCH_NORM, precision="float16")
    learner = learning(config)
    learner.scaler.load_state_dict({**learner.scaler.state_dict(), "scale": 2.0**40})
    before = {name: t.clone() for name, t in learner.classifier.state_dict().items()}
    batch = Batch(gather(TRAIN)[:8], TRAIN.labels[:8], None, torch.zeros(8, dtype=torch.bool))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.learn(1, batch)
    assert learner.scaler.get_scale() == 2.0**39
    assert all(torch.equal(before[n], t) for n, t in learner.classifier.state_dict().items())
    learner.scaler.load_state_dict({**learner.scaler.state_dict(), "scale": 64.0})
    learner.learn(2, batch)
    assert not torch.equal(before["network.head.weight"], learner.classifier.network.head.weight)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_network_learns_the_same_and_is_saved_as_what_it_is(backend, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    plain = trained(sampling="instance", ema_decay=0.5)
    compiled = trained(TrainingRun(compile=True), sampling="instance", ema_decay=0.5)
    assert list(plain.state_dict()) == list(compiled.state_dict())
    close(plain, compiled, rtol=1e-5)


def test_a_network_that_cannot_be_compiled_is_one_message(monkeypatch):
    def fails(graph, inputs):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=fails))
    with pytest.raises(InputError, match=r"^compute\.compile: .*no compiler.*set it to false"):
        trained(TrainingRun(compile=True))


def test_the_layout_in_memory_changes_no_result():
    plain, other = trained(), trained(TrainingRun(channels_last=True))
    close(plain, other, rtol=1e-5)
    assert [t.stride() for t in plain.state_dict().values()] == [
        t.stride() for t in other.state_dict().values()
    ]


def test_numbers_that_a_device_lacks_are_refused_before_the_training(monkeypatch):
    def lacking(*arguments):
        raise RuntimeError("unsupported")

    monkeypatch.setattr(torch, "autocast", lacking)
    config = recipe(precision="bfloat16")
    with pytest.raises(InputError, match=r"^train_baseline\.precision: .*float32"):
        try_training(config, ("a", "b", "c"), (16, 16), "cpu")


def test_full_precision_is_what_it_was(monkeypatch):
    """No scale, no autocast, no division: the bytes of a step without any of them."""
    config = recipe(**NO_BATCH_NORM, num_steps=2)
    learner, other = learning(config), learning(config)
    batch = Batch(gather(TRAIN)[:8], TRAIN.labels[:8], None, torch.zeros(8, dtype=torch.bool))
    learner.learn(1, batch)
    other.classifier.train()
    loss = torch.nn.functional.cross_entropy(
        other.classifier(batch.x), batch.labels, label_smoothing=config.label_smoothing
    )
    loss.backward()
    other.optimizer.step()
    assert same_weights(learner.classifier, other.classifier)
    assert learner.losses == [loss.item()]


def test_weights_that_are_not_finite_are_not_kept():
    learner = learning(recipe())
    next(learner.classifier.parameters()).data[0] = float("nan")
    with pytest.raises(InputError, match="training ended with are not finite; lower learning"):
        learner.keep_best()
