"""Processes that learn together end with the weights of one that learns alone."""

from functools import partial
from multiprocessing import active_children

import pytest
import torch
from training import TRAIN, VAL, recipe, shaded

from fgds_core.classify.checkpoint import Checkpoint
from fgds_core.classify.config import Treatment
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.team import Team
from fgds_core.classify.together import together
from fgds_core.classify.train import train_classifier
from fgds_core.errors import InputError
from fgds_core.stages.trial import try_training

RECIPE = {
    "model": "test_vit",  # no batch norm: an image of a batch has nothing to do with another
    "model_kwargs": {},
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "batch_size": 6,
    "ema_decay": 0.5,
}


def learn_together(run=TrainingRun(processes=2), synthetic=None, treatment=Treatment(), **changes):
    training = partial(
        train_classifier,
        TRAIN,
        VAL,
        recipe(**RECIPE | changes),
        seed=1,
        synthetic=synthetic,
        real_share=0.5,
        treatment=treatment,
    )
    with together(training, run) as run:
        return training(run=run)


@pytest.mark.parametrize(
    "special",
    [
        {"second_stage": "crt"},
        {"mix": "cmo", "treatment": Treatment(0.5, 0.3, mix_within_source=True)},
    ],
)
def test_two_processes_learn_what_one_learns(special):
    """Parts of one and two images, several micro-batches, images from both sources."""
    how = {"accumulate_steps": 2, "synthetic": shaded([0, 4, 4], seed=3)} | special
    epochs = {1: [], 2: []}
    one, two = (
        learn_together(TrainingRun(processes=n, on_epoch=epochs[n].append), **how) for n in (1, 2)
    )
    for name, weights in one.state_dict().items():
        torch.testing.assert_close(weights, two.state_dict()[name], rtol=1e-5, atol=1e-6)
    assert two.temperature == pytest.approx(one.temperature, rel=1e-4)
    assert len(epochs[2]) == len(epochs[1])
    for first, second in zip(epochs[1], epochs[2], strict=True):
        assert second == pytest.approx(first, rel=1e-4)


class Stop(Exception):
    pass


def test_a_training_of_two_that_was_stopped_goes_on(tmp_path):
    ticks = iter(range(1000))
    checkpoint = Checkpoint(tmp_path / "state", "a", 1, partial(next, ticks))
    whole = learn_together()
    steps = []

    def stop(number):
        steps.append(number)
        if len(steps) == 3:
            raise Stop

    with pytest.raises(Stop):
        learn_together(TrainingRun(processes=2, advance=stop, checkpoint=checkpoint))
    steps.clear()
    again = learn_together(TrainingRun(processes=2, advance=steps.append, checkpoint=checkpoint))
    assert steps == [3, 1, 1]
    for first, second in zip(
        whole.state_dict().values(), again.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-7)


def test_a_process_that_dies_ends_the_training_with_one_message():
    def kill(number):
        (follower,) = active_children()
        follower.kill()

    with pytest.raises(InputError, match=r"a process of the training was killed.*checkpoint"):
        learn_together(TrainingRun(processes=2, advance=kill), num_steps=50)
    assert not active_children()


def test_a_mistake_that_another_process_finds_is_told_as_it_is():
    with pytest.raises(InputError, match="the training loss became"):
        learn_together(learning_rate=100.0, warmup_steps=0, num_steps=60)


def test_more_processes_than_images_are_refused():
    with pytest.raises(
        InputError, match=r"^compute\.training_processes: 4 processes cannot share"
    ):
        try_training(
            recipe(batch_size=6, accumulate_steps=2),
            TRAIN.class_names,
            (16, 16),
            "cpu",
            processes=4,
        )


@pytest.mark.parametrize(("num_images", "size"), [(8, 2), (7, 3), (3, 2), (5, 5)])
def test_every_image_is_in_one_part(num_images, size):
    rows = list(range(num_images))
    parts = [rows[Team(rank, size).part(num_images)] for rank in range(size)]
    assert [row for part in parts for row in part] == rows
    assert {len(part) for part in parts} <= {num_images // size, -(-num_images // size)}


def test_dropout_differs_in_every_process_and_follows_from_the_step():
    with torch.random.fork_rng():
        drawn = {}
        for rank in (1, 2, 1):
            for step in (1, 2):
                Team(rank, 3).reseed(0, step)
                drawn.setdefault((rank, step), set()).add(torch.rand(1).item())
        assert [len(values) for values in drawn.values()] == [1] * 4
        assert len(set.union(*drawn.values())) == 4
        state = torch.get_rng_state()
        Team(0, 3).reseed(0, 1)
        assert torch.equal(torch.get_rng_state(), state)
