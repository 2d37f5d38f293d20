"""The counted costs of guided sampling hold wherever the tests run."""

import pytest
import torch

from benchmarks.networks import SMALL, classifier, generator
from benchmarks.sampling import MODES, Bench, count_calls, count_flops


@pytest.fixture(scope="module")
def bench() -> Bench:
    device = torch.device("cpu")
    return Bench(
        generator(SMALL, device, torch.float64), classifier(SMALL, device).double(), SMALL
    )


def test_six_guided_of_thirty_steps_cost_no_third_forward(bench):
    counts = count_calls(bench)
    assert counts["unet_forward"] == 60
    assert counts["unet_backward"] == 6
    assert counts["text_encoder"] == 2  # the prompt and the empty one, for four images


def test_flops_on_the_real_configuration_stay_below_the_released_scripts():
    ratios = count_flops()
    assert 1.78 < ratios["released"] < 1.84  # the script guides at 1.81 times the cost
    assert ratios["exact"] <= 1.73
    assert ratios["half"] <= 1.27
    assert ratios["tiny"] <= 1.16
    assert ratios["tiny_no_jacobian"] <= 1.05
    assert ratios["exact_reused"] <= 1 + 0.51 * (ratios["exact"] - 1)
    assert ratios["tiny_reused"] <= 1 + 0.51 * (ratios["tiny"] - 1)


def test_the_oracle_of_the_benchmark_draws_what_our_loop_draws(bench):
    together = bench.draw(MODES["exact"], 2)
    for index in range(2):
        alone = bench.draw_as_released(index)
        torch.testing.assert_close(alone[0], together[index], rtol=0, atol=1e-10)
