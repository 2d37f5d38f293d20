"""What guided sampling costs: counted, in FLOPs, on this CPU, and on a GPU where there is one.

    python -m benchmarks.sampling             # minutes; writes benchmarks/results/sampling.json
    python -m benchmarks.sampling --only cpu

- counts: forwards and backwards of the UNet per image, by hooks on the real sampling loop.
- flops_ratio: guided over unguided sampling of the real SD 2.1 unCLIP configuration at 512 pixels
  (meta device: shapes without weights), counted by torch on the code that samples.
- cpu: process time per image of a launch-bound network, all contestants in turn in one process,
  against `released`: a plain transcription of the released script's loop, one image at a time
  with a forward of its own for the gradient.
- gpu: the same contest on the real configuration with random weights, in bfloat16.

Every figure is a ratio within one run; `noise` is the ratio of one contestant to itself.
"""

import argparse
import json
import logging
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.experiments import RESULTS, write_json
from benchmarks.networks import REAL, SMALL, Sizes, classifier, generator
from fgds_core.classify.network import Classifier
from fgds_core.diffusion.denoise import ClassifierFree
from fgds_core.diffusion.guidance.gradient import (
    Decode,
    GradientAt,
    Objective,
    gradient_of,
    value_and_grad,
)
from fgds_core.diffusion.guidance.look import Look, at, guided, plain
from fgds_core.diffusion.guidance.reuse import reused
from fgds_core.diffusion.guidance.rules import load_rule
from fgds_core.diffusion.noise import randn, stream
from fgds_core.diffusion.sample import sample
from fgds_core.diffusion.schedule import guided_steps
from fgds_core.diffusion.solver import make_scheduler, noise_levels
from fgds_core.feedback.criteria.entropy import entropy
from fgds_core.feedback.critic import Feedback
from fgds_core.generators.model import Generator
from fgds_core.synthesis.draw import FEEDBACK_DECODERS

log = logging.getLogger(__name__)

STEPS, EVERY, GUIDANCE_SCALE, FEEDBACK_SCALE = 30, 5, 5.0, 0.03
GUIDED = guided_steps(STEPS, EVERY, 0.0, 1.0)
"""The settings of the released script: 30 steps, every 5th guided."""


@dataclass(frozen=True)
class Mode:
    """One way to guide.

    Attributes:
        decoder: What the classifier sees: exact, half or tiny.
        jacobian: Whether the gradient goes back through the UNet.
        refresh: Guided steps from one new gradient to the next.
        guided: Whether there is guidance at all.
    """

    decoder: str = "exact"
    jacobian: bool = True
    refresh: int = 1
    guided: bool = True


MODES = {
    "unguided": Mode(guided=False),
    "exact": Mode(),
    "half": Mode("half"),
    "tiny": Mode("tiny"),
    "tiny_no_jacobian": Mode("tiny", jacobian=False),
    "exact_no_jacobian": Mode(jacobian=False),
    "exact_reused": Mode(refresh=2),
    "tiny_reused": Mode("tiny", refresh=2),
}
FAST = "exact_reused"

GPU_ROUNDS = 5
"""So that the GPU's part takes less than ten minutes."""


@dataclass(frozen=True)
class Bench:
    """A generator and a classifier to guide it."""

    generator: Generator
    classifier: Classifier
    sizes: Sizes

    def objective(self, num_images: int) -> Objective:
        """Entropy feedback for a batch."""
        feedback = Feedback(entropy, (self.classifier,))
        labels = torch.zeros(num_images, dtype=torch.int64, device=self.generator.device)
        return lambda x, which: feedback(x, labels[: len(which)])

    def decode(self, mode: Mode) -> Decode:
        """What shows the classifier images."""
        return partial(FEEDBACK_DECODERS[mode.decoder], self.generator)

    def look(
        self, denoiser: ClassifierFree, mode: Mode, num_images: int, micro_batch: int | None = None
    ) -> Look:
        """What the sampler asks at each step of a batch."""
        if not mode.guided:
            return plain(denoiser)
        gradient_at: GradientAt = gradient_of(
            self.decode(mode),
            self.objective(num_images),
            denoiser,
            jacobian=mode.jacobian,
            micro_batch=micro_batch,
        )
        gradient_at = reused(mode.refresh, denoiser, gradient_at)
        steered = guided(denoiser, gradient_at, load_rule("relative"), FEEDBACK_SCALE)
        return at(frozenset(GUIDED), steered, otherwise=plain(denoiser))

    def condition(self, num_images: int, first: int = 0) -> ClassifierFree:
        """The denoiser of a batch, one prompt and a random embedding an image."""
        embeddings = randn(
            (self.sizes.embedding,), [stream(first + i, "embedding") for i in range(num_images)]
        ).to(self.generator.device, self.generator.dtype)
        image = self.generator.condition_on(embeddings, 0, torch.zeros_like(embeddings))
        return self.generator.denoiser(["a cat"] * num_images, image, GUIDANCE_SCALE)

    def latents(self, num_images: int, first: int = 0) -> Tensor:
        """Standard normal noise, one stream an image."""
        streams = [stream(first + i, "latents") for i in range(num_images)]
        noise = randn(self.generator.latent_shape, streams).to(self.generator.device)
        return noise if self.generator.dtype != torch.float64 else noise.double()

    def draw(self, mode: Mode, num_images: int, micro_batch: int | None = None) -> Tensor:
        """Draws a batch as the pipeline does: sampled in one go and decoded."""
        z0 = sample(
            self.look(self.condition(num_images), mode, num_images, micro_batch),
            make_scheduler("DDIMScheduler", self.generator.scheduler_config),
            self.latents(num_images),
            STEPS,
        )
        with torch.no_grad():
            return torch.cat(
                [self.generator.decode(z) for z in torch.split(z0, micro_batch or num_images)]
            )

    def draw_as_released(self, index: int) -> Tensor:
        """Draws one image as the released script does: a forward of its own for the gradient."""
        g, device = self.generator, self.generator.device
        unet, vae = g.pipeline.unet, g.pipeline.vae
        text = g.family.encode_prompt(g.pipeline, "a cat", 0)["encoder_hidden_states"][None]
        empty = g.family.no_prompt(g.pipeline, 0)["encoder_hidden_states"][None]
        vector = self.condition(1, index).conditional["class_labels"]
        solver = make_scheduler("DDIMScheduler", g.scheduler_config)
        solver.set_timesteps(STEPS)
        z = self.latents(1, index)
        labels = torch.zeros(1, dtype=torch.int64, device=device)
        feedback = Feedback(entropy, (self.classifier,))
        for step, t in enumerate(solver.timesteps):
            with torch.no_grad():
                both = unet(
                    torch.cat([z, z]).to(g.dtype),
                    t.to(device),
                    encoder_hidden_states=torch.cat([empty, text]),
                    class_labels=torch.cat([torch.zeros_like(vector), vector]),
                ).sample
            unconditional, conditional = both.to(z.dtype).chunk(2)
            prediction = unconditional + GUIDANCE_SCALE * (conditional - unconditional)
            if step in GUIDED:
                a = solver.alphas_cumprod[t].item()
                z = z.requires_grad_()
                v = unet(
                    z.to(g.dtype),
                    t.to(device),
                    encoder_hidden_states=text,
                    class_labels=vector,
                ).sample.to(z.dtype)
                z0 = a**0.5 * z - (1 - a) ** 0.5 * v
                x0 = vae.decode((z0 / vae.config.scaling_factor).to(vae.dtype)).sample
                (grad,) = torch.autograd.grad(feedback(x0.to(z.dtype), labels).sum(), z)
                z = (z + FEEDBACK_SCALE * z.norm() * grad / grad.norm()).detach()
            z = solver.step(prediction, t, z).prev_sample
        with torch.no_grad():
            return g.decode(z)

    def draw_one(self, index: int) -> Tensor:
        """Draws one image with our loop."""
        z0 = sample(
            self.look(self.condition(1, index), MODES["exact"], 1),
            make_scheduler("DDIMScheduler", self.generator.scheduler_config),
            self.latents(1, index),
            STEPS,
        )
        with torch.no_grad():
            return self.generator.decode(z0)


def count_calls(bench: Bench) -> dict[str, float]:
    """Forwards and backwards of the UNet per image, in the exact mode."""
    num_images, forwards, backwards = 4, [], []
    unet, encoder = bench.generator.pipeline.unet, bench.generator.pipeline.text_encoder

    def forward(module: object, args: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        forwards.append(len(args[0]))
        if output[0].requires_grad:
            output[0].register_hook(lambda grad: backwards.append(len(grad)))

    texts: list[int] = []
    handles = [
        unet.register_forward_hook(forward),
        encoder.register_forward_hook(lambda module, args, output: texts.append(len(args[0]))),
    ]
    bench.generator._prompts.clear()
    bench.draw(MODES["exact"], num_images)
    for handle in handles:
        handle.remove()
    return {
        "unet_forward": sum(forwards) / num_images,
        "unet_backward": sum(backwards) / num_images,
        "text_encoder": sum(texts),  # one prompt and the empty one, whatever the batch
        "num_inference_steps": STEPS,
        "guided_steps": len(GUIDED),
    }


def count_flops(sizes: Sizes = REAL) -> dict[str, float]:
    """FLOPs of guided over unguided sampling, on shapes without weights."""
    bench = Bench(
        generator(sizes, torch.device("meta")), classifier(sizes, torch.device("meta")), sizes
    )
    g = bench.generator
    solver = make_scheduler("DDIMScheduler", g.scheduler_config)
    solver.set_timesteps(STEPS)
    level = noise_levels(solver)[STEPS // 2]
    tokens = torch.empty(1, sizes.tokens, sizes.text, device="meta")
    vector = torch.empty(1, 2 * sizes.embedding, device="meta")
    told = {"encoder_hidden_states": tokens, "class_labels": vector}
    prediction_type = g.scheduler_config["prediction_type"]
    denoiser = ClassifierFree(g.ask, prediction_type, told, told, GUIDANCE_SCALE)
    z = torch.empty(1, *g.latent_shape, device="meta")

    def flops(run: Callable[[], object]) -> int:
        with FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    def guided_step(mode: Mode) -> None:
        start = z.clone().requires_grad_(mode.jacobian)
        _, conditional = denoiser.halves(start, level)
        _, grad = value_and_grad(bench.decode(mode), bench.objective(1), conditional)
        if mode.jacobian:
            torch.autograd.grad(conditional, start, grad)

    with torch.no_grad():
        step = flops(lambda: denoiser(z, level))
        decode = flops(lambda: g.decode(z))
    unguided = STEPS * step + decode
    ratios = {}
    for name, mode in MODES.items():
        if mode.guided:
            guided = flops(lambda mode=mode: guided_step(mode))
            looks = len(GUIDED[:: mode.refresh])
            total = (STEPS - looks) * step + looks * guided + decode
            ratios[name] = total / unguided
    # The released script: an unguided step, then another conditional forward with its backward
    released = flops(lambda: guided_step(MODES["exact"])) + step / 2
    total = (STEPS - len(GUIDED)) * step + len(GUIDED) * released + decode
    return {
        **{name: round(ratio, 4) for name, ratio in ratios.items()},
        "released": round(total / unguided, 4),
        "unguided_tflop_per_image": round(unguided / 1e12, 3),
    }


def contest(
    contestants: Mapping[str, Callable[[], object]],
    images: Mapping[str, int],
    rounds: int,
    clock: Callable[[], float],
) -> "Times":
    """Times contestants in turn.

    Args:
        contestants: What to run, by name.
        images: Images each run draws.
        rounds: How often each runs, after one run that is not counted.
        clock: Reads seconds.

    Returns:
        Seconds per image of each, in every round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            started = clock()
            run()
            if turn:
                seconds[name].append((clock() - started) / images[name])
        log.info("round %d of %d", turn, rounds)
    return Times(seconds)


@dataclass(frozen=True)
class Times:
    """Seconds per image of each contestant, in every round."""

    seconds: Mapping[str, list[float]]

    def __getitem__(self, name: str) -> float:
        """The median of one."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, other: str) -> float:
        """The median over rounds of how much longer one takes, whatever slows a whole round."""
        pairs = zip(self.seconds[name], self.seconds[other], strict=True)
        return round(statistics.median(one / two for one, two in pairs), 3)


def time_cpu(rounds: int, batch: int = 8) -> dict[str, Any]:
    """Process time per image on one CPU thread, of a network that launches dominate."""
    torch.set_num_threads(1)
    bench = Bench(
        generator(SMALL, torch.device("cpu")), classifier(SMALL, torch.device("cpu")), SMALL
    )

    def batched(name: str) -> Callable[[], object]:
        return lambda: bench.draw(MODES[name], batch)

    contestants: dict[str, Callable[[], object]] = {
        "released": lambda: bench.draw_as_released(0),
        "shared_forward": lambda: bench.draw_one(0),
        **{name: batched(name) for name in MODES},
        "exact_again": batched("exact"),
    }
    images = {name: batch if name in MODES or name == "exact_again" else 1 for name in contestants}
    per_image = contest(contestants, images, rounds, time.process_time)
    return {
        "exact_speedup": per_image.ratio("released", "exact"),
        "fast_speedup": per_image.ratio("released", FAST),
        "fast_over_unguided": per_image.ratio(FAST, "unguided"),
        "over_unguided": {name: per_image.ratio(name, "unguided") for name in MODES},
        "noise": per_image.ratio("exact_again", "exact"),
        "ladder": {
            "released": 1.0,
            "shared forward": per_image.ratio("released", "shared_forward"),
            f"batch {batch}": per_image.ratio("released", "exact"),
            "half decoder": per_image.ratio("released", "half"),
            "tiny decoder": per_image.ratio("released", "tiny"),
            "gradient reused once": per_image.ratio("released", "tiny_reused"),
            "no Jacobian": per_image.ratio("released", "tiny_no_jacobian"),
        },
        "ms_per_image": {name: round(1000 * per_image[name], 2) for name in contestants},
        "rounds": rounds,
        "batch": batch,
        "threads": 1,
        "fast": FAST,
    }


def time_gpu(rounds: int, batch: int = 16, micro_batch: int = 4) -> dict[str, Any] | None:
    """Wall time per image on a GPU, real configuration, random weights; None without one."""
    if not torch.cuda.is_available():
        return None
    device = torch.device("cuda")
    torch.manual_seed(0)
    networks = classifier(REAL, device)
    before = torch.cuda.memory_allocated()
    plain = Bench(generator(REAL, device, torch.bfloat16), networks, REAL)
    other = torch.cuda.memory_allocated() - before  # of two generators, one is not in use
    fast = Bench(
        generator(REAL, device, torch.bfloat16, channels_last=True, compile=True), networks, REAL
    )

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    peaks: dict[str, float] = {}

    def batched(name: str, bench: Bench, key: str) -> Callable[[], object]:
        def run() -> None:
            torch.cuda.reset_peak_memory_stats()
            bench.draw(MODES[name], batch, micro_batch)
            peaks[key] = (torch.cuda.max_memory_allocated() - other) / 2**30

        return run

    contestants: dict[str, Callable[[], object]] = {
        "released": lambda: plain.draw_as_released(0),
        "shared_forward": lambda: plain.draw_one(0),
        "exact_uncompiled": batched("exact", plain, "exact_uncompiled"),
        **{name: batched(name, fast, name) for name in MODES},
        "exact_again": batched("exact", fast, "exact_again"),
    }
    single = ("released", "shared_forward")
    images = {name: 1 if name in single else batch for name in contestants}
    per_image = contest(contestants, images, rounds, clock)
    tflop = count_flops()["unguided_tflop_per_image"]
    return {
        "device": torch.cuda.get_device_name(),
        "exact_speedup": per_image.ratio("released", "exact"),
        "fast_speedup": per_image.ratio("released", FAST),
        "fast_over_unguided": per_image.ratio(FAST, "unguided"),
        "over_unguided": {name: per_image.ratio(name, "unguided") for name in MODES},
        "unguided_tflops": round(tflop / per_image["unguided"], 1),
        "noise": per_image.ratio("exact_again", "exact"),
        "ladder": {
            "released": 1.0,
            "shared forward": per_image.ratio("released", "shared_forward"),
            f"batch {batch}": per_image.ratio("released", "exact_uncompiled"),
            "compiled, channels last": per_image.ratio("released", "exact"),
            "half decoder": per_image.ratio("released", "half"),
            "tiny decoder": per_image.ratio("released", "tiny"),
            "gradient reused once": per_image.ratio("released", "tiny_reused"),
            "no Jacobian": per_image.ratio("released", "tiny_no_jacobian"),
        },
        "s_per_image": {name: round(per_image[name], 4) for name in contestants},
        "peak_gib": {name: round(gib, 2) for name, gib in peaks.items()},
        "batch": batch,
        "micro_batch": micro_batch,
        "rounds": rounds,
    }


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (cpuinfo.read_text().splitlines() if cpuinfo.exists() else [])
        if line.startswith("model name")
    ]
    cpu = names[0] if names else platform.processor()
    return {"cpu": cpu, "torch": torch.__version__, "python": platform.python_version()}


def main() -> None:
    """Measures and writes the results; parts that were not asked for stay as they were."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = ("counts", "flops", "cpu", "gpu")
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--rounds", type=int, default=25, help="counted runs of each contestant")
    parser.add_argument("--out", type=Path, default=RESULTS / "sampling.json")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    results = json.loads(args.out.read_text()) if args.out.exists() else {}
    results["machine"] = machine()
    if "counts" in args.only:
        device = torch.device("cpu")
        results["counts"] = count_calls(
            Bench(generator(SMALL, device), classifier(SMALL, device), SMALL)
        )
    if "flops" in args.only:
        results["flops_ratio"] = count_flops()
    if "cpu" in args.only:
        results["cpu"] = time_cpu(args.rounds)
    if "gpu" in args.only:
        gpu = time_gpu(min(args.rounds, GPU_ROUNDS))
        results["gpu"] = gpu if gpu is not None else results.get("gpu")
    write_json(args.out, results)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
