"""Trains the embedded generator: a tiny Stable unCLIP for 32x32 pictures of garments.

Stages, each `python -m assets.tiny_unclip STAGE --run FOLDER`, resumed from its last checkpoint:

    vae     autoencoder 3x32x32 to 4x8x8                    (alongside clip, one thread each)
    clip    tokenizer, text encoder and vision tower, trained contrastively
    judge   classifier on real corpus images, for the gates
    pool    renders a pool of pictures, encodes them to latents and embeddings
    unet    trains the denoiser on the pool
    decoder trains the autoencoder's decoder on (alongside unet, at a low share)
    sharpen adds an adversarial term to the decoder's training
    export  writes the diffusers folder from whatever checkpoints there are
    card    measures the gates on the exported folder and writes card.json and README.md

Everything is seeded; a step's batch depends on (seed, stage, step) only, so a resumed run takes
the steps an uninterrupted one would have taken.

Legend: B images, C = 3 channels, H = W = 32 pixels, D = 64 embedding features.
"""

import argparse
import copy
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    StableUnCLIPImg2ImgPipeline,
    UNet2DConditionModel,
)
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import (
    StableUnCLIPImageNormalizer,
)
from PIL import Image
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn
from torch.func import functional_call
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from assets import corpus
from assets.corpus import CONTEXTS, Corpus, draw_contexts, in_target_look, render
from assets.fashion_lt import CLASS_NAMES, DEBIAN_FOLDER, shot_bin
from assets.fashion_lt import FOLDER as FASHION_LT
from fgds_core.classify.network import create_classifier, load_classifier
from fgds_core.classify.predict import predict
from fgds_core.classify.save import save_classifier

logger = logging.getLogger("tiny_unclip")

FOLDER = Path(__file__).parent / "tiny-unclip"
JUDGE = Path(__file__).parent / "judge"
EMBED_DIM = 64
MAX_TOKENS = 16
SEED = 0
STAGE_SEEDS = {
    "vae": 1,
    "clip": 2,
    "judge": 3,
    "unet": 4,
    "card": 5,
    "decoder": 6,
    "sharpen": 7,
    "tiny_decoder": 8,  # assets/tiny_decoder.py
}
CHECKPOINT_SECONDS = 90.0

# ---------------------------------------------------------------- networks


def make_vae() -> AutoencoderKL:
    """Autoencoder to 4x8x8 latents."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=corpus.SIZE,
    )


def make_tokenizer() -> CLIPTokenizer:
    """Byte-pair encoding trained on the corpus's captions, in CLIP's format."""
    rng = np.random.default_rng(SEED)
    num_captions = 4000
    captions = render(
        torch.zeros(num_captions, corpus.SIZE, corpus.SIZE, dtype=torch.uint8),
        torch.arange(num_captions) % len(CLASS_NAMES),
        draw_contexts(num_captions, rng),
        rng,
    ).captions
    tokenizer = Tokenizer(BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="removed")
    words = [word for caption in captions for word in caption.replace("-", " - ").split()]
    trainer = BpeTrainer(vocab_size=400, end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator(words, trainer)
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = alphabet + [c + "</w>" for c in alphabet] + [a + b for a, b in merges]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_TOKENS)


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Text tower whose pooled output is the text embedding: its width is D."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=EMBED_DIM,
        intermediate_size=2 * EMBED_DIM,
        projection_dim=EMBED_DIM,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def make_image_encoder() -> CLIPVisionModelWithProjection:
    """Vision tower, 3x32x32 to D."""
    config = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=256,
        projection_dim=EMBED_DIM,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=corpus.SIZE,
        patch_size=8,
    )
    return CLIPVisionModelWithProjection(config)


class Clip(nn.Module):
    """Both towers, the temperatures and the auxiliary heads, which are thrown away."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text = make_text_encoder(tokenizer)
        self.vision = make_image_encoder()
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.thumbnail = nn.Linear(EMBED_DIM, 3 * 8 * 8)


# ---------------------------------------------------------------- training loop


def to_unit(images: Tensor) -> Tensor:
    """uint8 to float in [-1, 1]."""
    return images.float() / 127.5 - 1


def step_rng(stage: str, step: int) -> np.random.Generator:
    """The generator of one training step; also seeds torch's for dropout and noise."""
    torch.manual_seed(SEED + 1_000_003 * STAGE_SEEDS[stage] + step)
    return np.random.default_rng((SEED, STAGE_SEEDS[stage], step))


def learning_rate(step: int, num_steps: int, peak: float) -> float:
    """Warm-up, constant, then a cosine decay over the last half."""
    warm = min(1.0, (step + 1) / 100)
    progress = max(0.0, 2 * step / num_steps - 1)
    return peak * warm * (0.5 + 0.5 * math.cos(math.pi * min(progress, 0.98)))


def train(
    stage: str,
    model: nn.Module,
    loss_of: Callable[[nn.Module, np.random.Generator], dict[str, Tensor]],
    run: Path,
    num_steps: int,
    lr: float,
    ema_decay: float,
    weight_decay: float = 0.01,
) -> nn.Module:
    """Trains `model` and returns its exponential moving average.

    Args:
        stage: Name of the checkpoint and seed of the batches.
        model: What is trained.
        loss_of: Named loss terms of one step; their sum is minimised.
        run: Folder of the checkpoints.
        num_steps: Steps in all, those of earlier calls included.
        lr: Peak learning rate.
        ema_decay: Decay of the moving average, per step.
        weight_decay: AdamW's.

    Returns:
        The averaged model in evaluation mode.
    """
    average = copy.deepcopy(model).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=lr, weight_decay=weight_decay, betas=(0.9, 0.99)
    )
    path, start, seconds = run / f"{stage}.pt", 0, 0.0
    if path.exists():
        state = torch.load(path, map_location=next(model.parameters()).device)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        start, seconds = state["step"], state["seconds"]
    model.train()
    began = saved = time.monotonic()
    totals: dict[str, float] = {}
    for step in range(start, num_steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, num_steps, lr)
        terms = loss_of(model, step_rng(stage, step))
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            raise RuntimeError(f"{stage}: loss is {loss.item()} at step {step}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay = min(ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
            for slow, fast in zip(average.buffers(), model.buffers(), strict=True):
                slow.copy_(fast)
        for name, value in terms.items():
            totals[name] = totals.get(name, 0.0) + value.item()
        now = time.monotonic()
        if (step + 1) % 50 == 0:
            rate = (step + 1 - start) / (now - began)
            parts = "  ".join(f"{name} {total / 50:.4f}" for name, total in totals.items())
            left = (num_steps - step - 1) / rate / 60
            logger.info(
                "%s %d/%d  %s  %.2f steps/s  %.1f min left",
                stage, step + 1, num_steps, parts, rate, left,
            )  # fmt: skip
            totals = {}
        if now - saved > CHECKPOINT_SECONDS or step + 1 == num_steps:
            state = {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
                "seconds": seconds + now - began,
            }
            torch.save(state, path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
            saved = now
    return average


def load_average(stage: str, model: nn.Module, run: Path) -> nn.Module:
    """Loads a stage's averaged weights for use, frozen."""
    path = run / f"{stage}.pt"
    if not path.exists():
        raise ValueError(f"{path} is missing: run the stage {stage!r} first")
    model.load_state_dict(torch.load(path, map_location="cpu")["average"])
    return model.requires_grad_(False).eval()


def cached_corpus(args: argparse.Namespace) -> Corpus:
    """The corpus; its disjointness from Fashion-LT is asserted whenever it is built."""
    path = args.run / "corpus.pt"
    if not path.exists():
        torch.save(vars(corpus.load_corpus(args.source, args.fashion_lt, SEED)), path)
    return Corpus(**torch.load(path))


def draw_batch(
    data: Corpus, num_images: int, target_share: float, rng: np.random.Generator
) -> corpus.Renderings:
    """Renders random training garments, with an extra share of the target look."""
    free = torch.nonzero(~data.held_out)[:, 0]
    chosen = free[torch.from_numpy(rng.integers(len(free), size=num_images))]
    contexts = draw_contexts(num_images, rng)
    extra = torch.from_numpy(rng.random(num_images) < target_share)
    contexts = torch.where(extra, torch.zeros_like(contexts), contexts)
    return render(data.images[chosen], data.labels[chosen], contexts, rng)


# ---------------------------------------------------------------- vae


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between neighbouring pixels, down and across."""
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def picture_terms(y: Tensor, x: Tensor) -> dict[str, Tensor]:
    """L1 at two scales, and L1 of the edges and of the colours."""
    chroma = F.l1_loss(y - y.mean(dim=1, keepdim=True), x - x.mean(dim=1, keepdim=True))
    return {
        "l1": F.l1_loss(y, x),
        "edges": sum(F.l1_loss(a, b) for a, b in zip(edges(y), edges(x), strict=True)),
        "coarse": F.l1_loss(F.avg_pool2d(y, 2), F.avg_pool2d(x, 2)),
        "chroma": 2 * chroma,
    }


def vae_terms(vae: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The picture's terms and a small KL."""
    posterior = vae.encode(x).latent_dist
    y = vae.decode(posterior.sample()).sample
    kl = posterior.kl().mean() / posterior.mean[0].numel()
    return {**picture_terms(y, x), "kl": 2e-4 * kl}


def train_vae(args: argparse.Namespace) -> None:
    """Stage `vae`."""
    data = cached_corpus(args)
    torch.manual_seed(SEED)
    vae = make_vae().to(args.device, memory_format=torch.channels_last)

    def loss_of(model: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
        batch = draw_batch(data, 32, 0.25, rng)
        x = to_unit(batch.images).to(args.device, memory_format=torch.channels_last)
        return vae_terms(model, x)

    average = train("vae", vae, loss_of, args.run, args.steps or 3000, 2e-3, 0.995, 0.0)
    batch = draw_batch(data, 48, 0.3, np.random.default_rng(SEED))
    x = to_unit(batch.images).to(args.device)
    with torch.no_grad():
        y = average.decode(average.encode(x).latent_dist.mode()).sample
    save_grid(torch.cat([x[:24], y[:24], x[24:], y[24:]]), args.run / "vae.png", 24)
    logger.info("vae: held images L1 %.4f on [-1, 1]", F.l1_loss(y, x).item())


def save_grid(images: Tensor, path: Path, num_columns: int) -> None:
    """Writes images in [-1, 1] as one enlarged picture."""
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
    rows = len(pixels) // num_columns
    grid = pixels[: rows * num_columns].reshape(rows, num_columns, 3, corpus.SIZE, corpus.SIZE)
    canvas = grid.permute(0, 3, 1, 4, 2).reshape(rows * corpus.SIZE, -1, 3).numpy()
    picture = Image.fromarray(canvas)
    picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST).save(path)


# ---------------------------------------------------------------- clip


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids padded to the model's length, [B, MAX_TOKENS]."""
    return tokenizer(
        captions,
        padding="max_length",
        truncation=True,
        max_length=MAX_TOKENS,
        return_tensors="pt",
    ).input_ids


def lightly_augment(x: Tensor) -> Tensor:
    """Another view of the same rendering: a pixel's shift, contrast, brightness, noise."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    down, across = torch.randint(3, (2,)).tolist()
    view = padded[..., down : down + corpus.SIZE, across : across + corpus.SIZE]
    gain = 1 + 0.1 * torch.randn(len(x), 1, 1, 1, device=x.device)
    offset = 0.05 * torch.randn(len(x), 1, 1, 1, device=x.device)
    return (view * gain + offset + 0.03 * torch.randn_like(x)).clamp(-1, 1)


def soft_cross_entropy(logits: Tensor, positive: Tensor) -> Tensor:
    """Cross-entropy to the uniform distribution over each row's positives."""
    targets = positive / positive.sum(dim=1, keepdim=True)
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()


def clip_terms(
    clip: Clip, x: Tensor, tokens: Tensor, truthful: Tensor, text_tokens: Tensor
) -> dict[str, Tensor]:
    """Image-text and image-image contrast, and the thumbnail read off the embedding.

    Args:
        clip: Both towers.
        x: Pictures in [-1, 1], [B, 3, 32, 32].
        tokens: For each picture its caption's row in `text_tokens`, [B].
        truthful: Whether caption j describes picture i, float [B, T].
        text_tokens: The batch's different captions, [T, MAX_TOKENS].

    Returns:
        The loss terms.
    """
    views = torch.cat([lightly_augment(x), lightly_augment(x)])
    raw = clip.vision(pixel_values=views).image_embeds  # [2 B, D]
    features = F.normalize(raw, dim=-1)
    first, second = features.chunk(2)
    text = F.normalize(clip.text(input_ids=text_tokens).pooler_output, dim=-1)  # [T, D]
    counts = torch.bincount(tokens, minlength=len(text)).float()
    logits = clip.log_scale.clamp(max=math.log(50.0)).exp() * first @ text.T  # [B, T]
    # A caption met c times in the batch counts c times among the negatives.
    to_text = soft_cross_entropy(logits + counts.log(), truthful * counts)
    to_image = soft_cross_entropy(logits.T, truthful.T)
    same = first @ second.T / 0.1  # [B, B]
    own = torch.arange(len(x), device=x.device)
    instance = (F.cross_entropy(same, own) + F.cross_entropy(same.T, own)) / 2
    small = F.avg_pool2d(x, 4).flatten(1)  # [B, 192]
    thumbnail = F.mse_loss(clip.thumbnail(raw), small.repeat(2, 1))
    return {
        "text": 0.5 * (to_text + to_image),
        "instance": 0.3 * instance,
        "thumbnail": 4 * thumbnail,
    }


def is_generic(caption: str, label: int) -> bool:
    """Whether a caption names the class only, so that it is true of all its renderings."""
    name = CLASS_NAMES[label]
    return caption in {g.replace("{class}", name) for g in corpus.GENERIC}


def train_clip(args: argparse.Namespace) -> None:
    """Stage `clip`."""
    data = cached_corpus(args)
    tokenizer = make_tokenizer()
    torch.manual_seed(SEED)
    clip = Clip(tokenizer).to(args.device)
    free = torch.nonzero(~data.held_out)[:, 0]

    def loss_of(model: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
        chosen = free[torch.from_numpy(rng.integers(len(free), size=192))]
        labels = data.labels[chosen]
        batch = render(data.images[chosen], labels, draw_contexts(192, rng), rng)
        texts = {caption: i for i, caption in enumerate(dict.fromkeys(batch.captions))}
        rows = torch.tensor([texts[c] for c in batch.captions])
        truthful = F.one_hot(rows, len(texts)).float()  # [B, T]
        for caption, label in set(zip(batch.captions, labels.tolist(), strict=True)):
            if is_generic(caption, label):
                truthful[labels == label, texts[caption]] = 1
        return clip_terms(
            model,
            to_unit(batch.images).to(args.device),
            rows.to(args.device),
            truthful.to(args.device),
            tokenize(tokenizer, list(texts)).to(args.device),
        )

    average = train("clip", clip, loss_of, args.run, args.steps or 1500, 1e-3, 0.995, 0.05)
    for context in range(len(CONTEXTS)):
        held = render_held_out(data, context)
        accuracy = zero_shot(average, tokenizer, held, data.labels[data.held_out], args.device)
        logger.info("clip: zero-shot accuracy, %s: %.3f", CONTEXTS[context], accuracy)


def render_held_out(data: Corpus, context: int) -> Tensor:
    """All held-out garments in one context, in [-1, 1], [N, 3, 32, 32]."""
    images, labels = data.images[data.held_out], data.labels[data.held_out]
    contexts = torch.full((len(images),), context)
    return to_unit(render(images, labels, contexts, np.random.default_rng(SEED)).images)


@torch.no_grad()
def zero_shot(
    clip: Clip, tokenizer: CLIPTokenizer, x: Tensor, labels: Tensor, device: str
) -> float:
    """Share of pictures nearest to their class's "a photo of a {class}"."""
    prompts = [f"a photo of a {name}" for name in CLASS_NAMES]
    text = clip.text(input_ids=tokenize(tokenizer, prompts).to(device)).pooler_output
    features = torch.cat(
        [clip.vision(pixel_values=part.to(device)).image_embeds for part in x.split(256)]
    )
    nearest = (F.normalize(features, dim=-1) @ F.normalize(text, dim=-1).T).argmax(dim=1)
    return (nearest.cpu() == labels).float().mean().item()


# ---------------------------------------------------------------- judge


def train_judge(args: argparse.Namespace) -> None:
    """Stage `judge`: a classifier of real corpus images, half of them in the target look."""
    data = cached_corpus(args)
    judge = create_classifier("test_resnet", {}, CLASS_NAMES, corpus.SIZE, SEED)
    judge.to(args.device, memory_format=torch.channels_last)
    free = torch.nonzero(~data.held_out)[:, 0]

    def loss_of(model: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
        chosen = free[torch.from_numpy(rng.integers(len(free), size=128))]
        contexts = draw_contexts(128, rng)
        contexts = torch.where(torch.from_numpy(rng.random(128) < 0.3), 0, contexts)
        labels = data.labels[chosen]
        x = to_unit(render(data.images[chosen], labels, contexts, rng).images).to(args.device)
        logits = model(x.to(memory_format=torch.channels_last))
        return {"loss": F.cross_entropy(logits, labels.to(args.device), label_smoothing=0.05)}

    average = train("judge", judge, loss_of, args.run, args.steps or 1200, 3e-3, 0.99, 0.02)
    labels = data.labels[data.held_out]
    accuracies, recalls = {}, {}
    for context, name in enumerate(CONTEXTS):
        logits, _ = predict(average, render_held_out(data, context))
        right = (logits.argmax(dim=1) == labels).float()
        accuracies[name] = right.mean().item()
        recalls[name] = [right[labels == k].mean().item() for k in range(len(CLASS_NAMES))]
        logger.info("judge: held-out accuracy, %s: %.3f", name, accuracies[name])
    counts = torch.bincount(data.labels[free], minlength=len(CLASS_NAMES)).tolist()
    save_classifier(
        args.judge,
        average,
        real_counts=counts,
        bins={name: shot_bin(n) for name, n in zip(CLASS_NAMES, counts, strict=True)},
        extra={"held_out_accuracy": accuracies, "held_out_recall": recalls},
    )


# ---------------------------------------------------------------- pool


def pool_renderings(args: argparse.Namespace) -> corpus.Renderings:
    """Each training garment once in the target look, all these first, and once in another."""
    path = args.run / "pictures.pt"
    if path.exists():
        return corpus.Renderings(**torch.load(path, mmap=True))
    data = cached_corpus(args)
    free = torch.nonzero(~data.held_out)[:, 0]
    rng = np.random.default_rng((SEED, STAGE_SEEDS["unet"]))
    shares = np.array(corpus.CONTEXT_SHARES[1:]) / sum(corpus.CONTEXT_SHARES[1:])
    others = 1 + torch.from_numpy(rng.choice(len(shares), len(free), p=shares))
    chosen = free.repeat(2)
    contexts = torch.cat([torch.zeros_like(others), others])
    images, captions = [], []
    for part in torch.arange(len(chosen)).split(2048):
        made = render(data.images[chosen[part]], data.labels[chosen[part]], contexts[part], rng)
        images.append(made.images)
        captions += made.captions
    pool = corpus.Renderings(torch.cat(images), captions, contexts)
    torch.save(vars(pool), path)
    return pool


@torch.no_grad()
def encode_pool(args: argparse.Namespace) -> None:
    """Stage `pool`: latents and image embeddings of the renderings the denoiser learns from."""
    pool = pool_renderings(args)
    parts = pool.images.split(512)
    if not (args.run / "latents.pt").exists():
        vae = load_average("vae", make_vae(), args.run).to(args.device)
        vae.to(memory_format=torch.channels_last)
        began, latents = time.monotonic(), []
        for index, part in enumerate(parts):
            x = to_unit(part).to(args.device, memory_format=torch.channels_last)
            latents.append(vae.encode(x).latent_dist.mode().cpu())
            if index % 20 == 0:
                logger.info("latents %d/%d %.0f s", index, len(parts), time.monotonic() - began)
        z = torch.cat(latents)  # [N, 4, 8, 8]
        mean, std = z.mean(dim=(0, 2, 3)), z.std(dim=(0, 2, 3))
        logger.info("latents: mean %s std %s", mean.tolist(), std.tolist())
        z = (z - mean[:, None, None]) / std[:, None, None]
        state = {"latents": z.half(), "mean": mean, "std": std}
        torch.save(state, args.run / "latents.pt")
    if args.latents_only:
        return
    tokenizer = make_tokenizer()
    clip = load_average("clip", Clip(tokenizer), args.run).to(args.device)
    embeds = torch.cat(
        [clip.vision(pixel_values=to_unit(part).to(args.device)).image_embeds for part in parts]
    ).cpu()  # [N, D]
    scale = 1 / embeds.std(dim=0).mean()
    texts = {caption: i for i, caption in enumerate(dict.fromkeys(["", *pool.captions]))}
    tokens = tokenize(tokenizer, list(texts)).to(args.device)
    hidden = torch.cat([clip.text(input_ids=t).last_hidden_state for t in tokens.split(512)])
    torch.save(
        {
            "embeds": (embeds * scale).half(),
            "scale": scale,
            "mean": (embeds * scale).mean(dim=0),
            "std": (embeds * scale).std(dim=0),
            "rows": torch.tensor([texts[c] for c in pool.captions]),
            "hidden": hidden.cpu(),  # row 0 is the empty prompt, [T, MAX_TOKENS, D]
            "contexts": pool.contexts,
        },
        args.run / "embeds.pt",
    )
    logger.info("pool: %d renderings, %d captions, scale %.3f", len(embeds), len(texts), scale)


# ---------------------------------------------------------------- decoder


class DecoderBatches:
    """Latents, a little noisy as the denoiser's are, and the pictures they came from."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.state = torch.load(args.run / "latents.pt")
        self.pictures = pool_renderings(args).images
        self.device = args.device

    def draw(self, num_images: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Latents as the autoencoder was trained with, [B, 4, 8, 8], and pictures."""
        num_target = len(self.pictures) // 2  # they come first
        target = rng.integers(num_target, size=num_images)
        other = rng.integers(num_target, len(self.pictures), size=num_images)
        chosen = torch.from_numpy(np.where(rng.random(num_images) < 0.6, target, other))
        z = self.state["latents"][chosen].float()
        z = z + 0.05 * torch.randn_like(z)
        z = z * self.state["std"][:, None, None] + self.state["mean"][:, None, None]
        x = to_unit(self.pictures[chosen])
        return z.to(self.device), x.to(self.device, memory_format=torch.channels_last)


def trainable_decoder(stage: str, args: argparse.Namespace) -> AutoencoderKL:
    """An earlier stage's autoencoder whose encoder stays as it is."""
    vae = load_average(stage, make_vae(), args.run)
    for part in (vae.decoder, vae.post_quant_conv):
        part.requires_grad_(True)
    return vae.to(args.device, memory_format=torch.channels_last)


def train_decoder(args: argparse.Namespace) -> None:
    """Stage `decoder`: trains the decoder on while the encoder, and so the latents, stay."""
    batches = DecoderBatches(args)

    def loss_of(model: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
        z, x = batches.draw(32, rng)
        return picture_terms(model.decode(z).sample, x)

    vae = trainable_decoder("vae", args)
    train("decoder", vae, loss_of, args.run, args.steps or 2000, 1e-3, 0.998, 0.0)


class Sharpener(nn.Module):
    """The autoencoder and a critic that tells its patches from real ones; it is thrown away."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae
        self.critic = nn.Sequential(
            nn.Conv2d(3, 32, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(32, 64, 4, 2, 1),
            nn.GroupNorm(8, 64),
            nn.LeakyReLU(0.2),
            nn.Conv2d(64, 64, 3, 1, 1),
            nn.GroupNorm(8, 64),
            nn.LeakyReLU(0.2),
            nn.Conv2d(64, 1, 3, 1, 1),
        )


def sharpen_decoder(args: argparse.Namespace) -> None:
    """Stage `sharpen`: adds an adversarial term, which gives pictures their texture back."""
    batches = DecoderBatches(args)
    torch.manual_seed(SEED)
    model = Sharpener(trainable_decoder("decoder", args)).to(args.device)

    def loss_of(model: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
        z, x = batches.draw(32, rng)
        y = model.vae.decode(z).sample
        critic = model.critic
        told = F.relu(1 - critic(x)).mean() + F.relu(1 + critic(y.detach())).mean()
        fixed = {name: p.detach() for name, p in critic.named_parameters()}
        fooled = -functional_call(critic, fixed, (y,)).mean()
        return {**picture_terms(y, x), "critic": told, "fooled": args.adversarial * fooled}

    average = train("sharpen", model, loss_of, args.run, args.steps or 1500, 5e-4, 0.995, 0.0)
    z, x = batches.draw(40, np.random.default_rng(SEED))
    with torch.no_grad():
        y = average.vae.decode(z).sample
    save_grid(torch.cat([x[:20], y[:20], x[20:], y[20:]]), args.run / "sharpen.png", 20)


# ---------------------------------------------------------------- unet


def make_unet() -> UNet2DConditionModel:
    """The denoiser: text by cross-attention at 4x4, the image vector beside the time."""
    return UNet2DConditionModel(
        sample_size=corpus.SIZE // 4,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=EMBED_DIM,
        attention_head_dim=4,
        norm_num_groups=8,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * EMBED_DIM,
        use_linear_projection=True,
        resnet_time_scale_shift="scale_shift",
    )


def make_schedulers() -> tuple[DDIMScheduler, DDPMScheduler]:
    """The latents' schedule (as Stable Diffusion 2.1, v-prediction) and the embeddings'."""
    latents = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
    )
    return latents, DDPMScheduler(beta_schedule="squaredcos_cap_v2")


def drop_conditions(
    embeds: Tensor, levels: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Makes the image vectors, and decides who goes without text or image.

    Args:
        embeds: Noised embeddings, [B, D].
        levels: Their noise levels, [B].
        rng: Draws who loses what.

    Returns:
        Image vectors, [B, 2 D], and whether the text is kept, bool [B].
    """
    num_images = len(embeds)
    rates = rng.uniform(0, 0.6, num_images) * (rng.random(num_images) < 0.4)
    kept = torch.from_numpy(rng.random(embeds.shape) >= rates[:, None])
    told = get_timestep_embedding(levels, EMBED_DIM, flip_sin_to_cos=True, downscale_freq_shift=0)
    vectors = torch.cat([embeds * kept.to(embeds), told.to(embeds)], dim=1)  # [B, 2 D]
    with_image = torch.from_numpy(rng.random(num_images) >= 0.3)
    with_text = torch.from_numpy(rng.random(num_images) >= 0.15)
    return vectors * with_image[:, None].to(vectors), with_text


def train_unet(args: argparse.Namespace) -> None:
    """Stage `unet`."""
    if not (args.run / "embeds.pt").exists():
        encode_pool(args)
    latents = torch.load(args.run / "latents.pt")["latents"]
    pool = torch.load(args.run / "embeds.pt")
    num_target = int((pool["contexts"] == 0).sum())
    schedule, level_schedule = make_schedulers()
    torch.manual_seed(SEED)
    unet = make_unet().to(args.device, memory_format=torch.channels_last)

    def loss_of(model: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
        target = rng.random(args.batch_size) < args.target_share
        chosen = torch.from_numpy(
            np.where(
                target,
                rng.integers(num_target, size=args.batch_size),
                rng.integers(num_target, len(latents), size=args.batch_size),
            )
        )
        z0 = latents[chosen].float()
        timesteps = torch.randint(1000, (len(z0),))
        noise = torch.randn_like(z0)
        z = schedule.add_noise(z0, noise, timesteps).to(args.device)
        velocity = schedule.get_velocity(z0, noise, timesteps).to(args.device)
        embeds = pool["embeds"][chosen].float()
        noisy = torch.rand(len(z0)) < 0.15
        levels = torch.where(noisy, torch.randint(1000, (len(z0),)), 0)
        normal = (embeds - pool["mean"]) / pool["std"]
        normal = level_schedule.add_noise(normal, torch.randn_like(normal), levels)
        vectors, with_text = drop_conditions(normal * pool["std"] + pool["mean"], levels, rng)
        hidden = pool["hidden"][torch.where(with_text, pool["rows"][chosen], 0)]
        predicted = model(
            z.to(memory_format=torch.channels_last),
            timesteps.to(args.device),
            hidden.to(args.device),
            class_labels=vectors.to(args.device),
        ).sample
        return {"mse": F.mse_loss(predicted, velocity)}

    train("unet", unet, loss_of, args.run, args.steps or 3000, 2e-3, 0.999, 0.01)


# ---------------------------------------------------------------- export


@torch.no_grad()
def fold_latents(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> AutoencoderKL:
    """Moves the latents' centring into the 1x1 convolutions around them.

    The pipeline knows one scaling factor and no shift. Afterwards every channel has mean 0 and
    standard deviation `1 / scaling_factor`.

    Args:
        vae: Autoencoder as trained; changed in place.
        mean: Its latents' mean, [4].
        std: Their standard deviation, [4].

    Returns:
        The same autoencoder.
    """
    overall = std.square().mean().sqrt()
    ratio = overall / std  # old latent = new latent / ratio + mean
    quant, post = vae.quant_conv, vae.post_quant_conv
    post.bias += (post.weight[:, :, 0, 0] * mean).sum(dim=1)
    post.weight /= ratio[None, :, None, None]
    channels = len(mean)
    quant.weight[:channels] *= ratio[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) * ratio
    quant.bias[channels:] += 2 * ratio.log()
    vae.register_to_config(scaling_factor=round(1 / overall.item(), 6))
    return vae


def export(args: argparse.Namespace) -> None:
    """Stage `export`: the diffusers folder of the averaged weights."""
    latents = torch.load(args.run / "latents.pt")
    pool = torch.load(args.run / "embeds.pt")
    tokenizer = make_tokenizer()
    clip = load_average("clip", Clip(tokenizer), args.run)
    clip.vision.visual_projection.weight.mul_(pool["scale"])
    if (args.run / "sharpen.pt").exists():
        vae = load_average("sharpen", Sharpener(make_vae()), args.run).vae
    else:
        vae = load_average(
            "decoder" if (args.run / "decoder.pt").exists() else "vae", make_vae(), args.run
        )
    fold_latents(vae, latents["mean"], latents["std"])
    unet = load_average("unet", make_unet(), args.run)
    normalizer = StableUnCLIPImageNormalizer(embedding_dim=EMBED_DIM)
    normalizer.mean.data, normalizer.std.data = pool["mean"][None], pool["std"][None]
    schedule, level_schedule = make_schedulers()
    half = [0.5, 0.5, 0.5]
    pipeline = StableUnCLIPImg2ImgPipeline(
        feature_extractor=CLIPImageProcessor(
            size={"shortest_edge": corpus.SIZE},
            crop_size={"height": corpus.SIZE, "width": corpus.SIZE},
            image_mean=half,
            image_std=half,
        ),
        image_encoder=clip.vision,
        image_normalizer=normalizer,
        image_noising_scheduler=level_schedule,
        tokenizer=tokenizer,
        text_encoder=clip.text,
        unet=unet,
        scheduler=schedule,
        vae=vae,
    )
    pipeline.save_pretrained(args.out, safe_serialization=True)
    size = sum(p.stat().st_size for p in args.out.rglob("*") if p.is_file())
    logger.info("export: %.2f MB in %s", size / 1e6, args.out)


# ---------------------------------------------------------------- sampling


def load_pipeline(folder: Path) -> StableUnCLIPImg2ImgPipeline:
    """The exported generator, quiet."""
    pipeline = StableUnCLIPImg2ImgPipeline.from_pretrained(folder, low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    return pipeline


@torch.no_grad()
def sample(
    pipeline: StableUnCLIPImg2ImgPipeline,
    prompts: list[str],
    embeds: Tensor | None,
    seed: int,
    guidance_scale: float,
    num_inference_steps: int = 20,
) -> Tensor:
    """Draws images by DDIM with classifier-free guidance, as the pipeline does.

    Args:
        pipeline: The generator.
        prompts: One per image; empty ones give no text.
        embeds: Image embeddings, [B, D]; None gives no image.
        seed: Of the noise.
        guidance_scale: Weight of the condition; 1 is off.
        num_inference_steps: DDIM steps.

    Returns:
        Images in [-1, 1], [B, 3, 32, 32].
    """
    generator = torch.Generator().manual_seed(seed)
    num_images = len(prompts)
    vectors = torch.zeros(num_images, 2 * EMBED_DIM)
    if embeds is not None:
        noise = torch.randn(embeds.shape, generator=generator)
        vectors = pipeline.noise_image_embeddings(embeds, 0, noise=noise)
    tokens = tokenize(pipeline.tokenizer, ["", *prompts])
    hidden = pipeline.text_encoder(input_ids=tokens).last_hidden_state
    hidden = torch.cat([hidden[:1].expand(num_images, -1, -1), hidden[1:]])  # [2 B, T, D]
    vectors = torch.cat([torch.zeros_like(vectors), vectors])  # [2 B, 2 D]
    z = torch.randn((num_images, 4, 8, 8), generator=generator)
    scheduler = copy.deepcopy(pipeline.scheduler)
    scheduler.set_timesteps(num_inference_steps)
    for t in scheduler.timesteps:
        twice = torch.cat([z, z]).to(memory_format=torch.channels_last)
        free, told = pipeline.unet(twice, t, hidden, class_labels=vectors).sample.chunk(2)
        z = scheduler.step(free + guidance_scale * (told - free), t, z).prev_sample
    return pipeline.vae.decode(z / pipeline.vae.config.scaling_factor).sample.clamp(-1, 1)


@torch.no_grad()
def look(args: argparse.Namespace) -> None:
    """Stage `look`: grids of samples for the eye, from the exported folder."""
    data, pipeline = cached_corpus(args), load_pipeline(args.out)
    labels = data.labels[data.held_out]
    chosen = torch.cat([torch.nonzero(labels == k)[:8, 0] for k in range(len(CLASS_NAMES))])
    x = render_held_out(data, 0)[chosen]
    embeds = pipeline.image_encoder(pixel_values=x).image_embeds
    prompts = [f"a photo of a {CLASS_NAMES[labels[i]]}" for i in chosen]
    dual = sample(pipeline, prompts, embeds, 1, args.guidance_scale)
    text = sample(pipeline, prompts, None, 2, args.guidance_scale)
    image = sample(pipeline, [""] * len(prompts), embeds, 3, args.guidance_scale)
    rows = [torch.cat([x[i::8], dual[i::8]]) for i in range(4)]
    rows += [torch.cat([text[i::8], image[i::8]]) for i in range(4)]
    save_grid(torch.cat(rows), args.run / "samples.png", 20)


# ---------------------------------------------------------------- card


def draw(
    pipeline: StableUnCLIPImg2ImgPipeline,
    labels: Tensor,
    embeds: Tensor | None,
    with_text: bool,
    seed: int,
    guidance_scale: float,
) -> Tensor:
    """Draws one image per label in batches, [N, 3, 32, 32]."""
    images = []
    for index, part in enumerate(torch.arange(len(labels)).split(100)):
        prompts = [f"a photo of a {CLASS_NAMES[k]}" if with_text else "" for k in labels[part]]
        some = None if embeds is None else embeds[part]
        images.append(sample(pipeline, prompts, some, seed * 100_000 + index, guidance_scale))
    return torch.cat(images)


def class_shares(right: Tensor, labels: Tensor) -> list[float]:
    """Share of `right` within each class."""
    return [right[labels == k].float().mean().item() for k in range(len(CLASS_NAMES))]


def nearer_to_own(features: Tensor, real: Tensor, labels: Tensor) -> list[float]:
    """Share of samples nearer to their conditioning image than to another of the class.

    Args:
        features: Judge's features of the samples, [N, D'].
        real: Judge's features of their conditioning images, [N, D'].
        labels: Their classes, [N].

    Returns:
        The share in each class, over all pairs of a sample and another image.
    """
    shares = []
    for k in range(len(CLASS_NAMES)):
        distances = torch.cdist(features[labels == k], real[labels == k])  # [M, M]
        own = distances.diagonal()[:, None]
        others = ~torch.eye(len(own), dtype=torch.bool)
        shares.append((own < distances)[others].float().mean().item())
    return shares


@torch.no_grad()
def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measures the gates and what else the card tells."""
    data = cached_corpus(args)
    pipeline, judge = load_pipeline(args.out), load_classifier(args.judge)
    labels = data.labels[data.held_out]
    order = labels.argsort(stable=True)
    real, labels = render_held_out(data, 0)[order], labels[order]
    embeds = torch.cat(
        [pipeline.image_encoder(pixel_values=x).image_embeds for x in real.split(500)]
    )
    real_logits, real_features = predict(judge, real)
    recall = class_shares(real_logits.argmax(dim=1) == labels, labels)
    began = time.monotonic()
    dual = draw(pipeline, labels, embeds, True, 1, args.guidance_scale)
    seconds = time.monotonic() - began
    logits, features = predict(judge, dual)
    dual_agreement = class_shares(logits.argmax(dim=1) == labels, labels)
    ratio = [a / r for a, r in zip(dual_agreement, recall, strict=True)]
    nearer = nearer_to_own(features, real_features, labels)
    few = torch.arange(len(labels)) % 4 == 0  # the other kinds on a quarter of the images
    kinds = {"text": (None, True), "image": (embeds[few], False)}
    others, looks = {}, {"dual": in_target_look(dual).float().mean().item()}
    for seed, (kind, (some, with_text)) in enumerate(kinds.items(), start=2):
        drawn = draw(pipeline, labels[few], some, with_text, seed, args.guidance_scale)
        right = predict(judge, drawn)[0].argmax(dim=1) == labels[few]
        others[kind] = class_shares(right, labels[few])
        looks[kind] = in_target_look(drawn).float().mean().item()
    neither = draw(pipeline, labels[few], None, False, 4, 1.0)
    guessed = predict(judge, neither)[0].softmax(dim=1)
    looks["neither"] = in_target_look(neither).float().mean().item()
    codes = pipeline.vae
    rebuilt = torch.cat(
        [codes.decode(codes.encode(x).latent_dist.mode()).sample for x in real.split(250)]
    )
    rebuilt_right = predict(judge, rebuilt.clamp(-1, 1))[0].argmax(dim=1) == labels
    prompts = [f"a photo of a {name}" for name in CLASS_NAMES]
    text = pipeline.text_encoder(input_ids=tokenize(pipeline.tokenizer, prompts)).pooler_output
    nearest = (F.normalize(embeds, dim=-1) @ F.normalize(text, dim=-1).T).argmax(dim=1)
    held_out = json.loads((args.judge / "config.json").read_text())["held_out_accuracy"]
    training = {}
    for stage in ("vae", "clip", "judge", "decoder", "sharpen", "unet"):
        if (args.run / f"{stage}.pt").exists():
            state = torch.load(args.run / f"{stage}.pt", map_location="cpu")
            training[stage] = {"steps": state["step"], "minutes": state["seconds"] / 60}
    sizes = {
        name: sum(p.numel() for p in getattr(pipeline, name).parameters())
        for name in ("text_encoder", "image_encoder", "vae", "unet")
    }
    return {
        "num_images_per_class": len(labels) // len(CLASS_NAMES),
        "num_inference_steps": 20,
        "guidance_scale": args.guidance_scale,
        "class_names": list(CLASS_NAMES),
        "judge_held_out_accuracy": held_out,
        "judge_recall": recall,
        "dual_agreement": dual_agreement,
        "dual_agreement_ratio": ratio,
        "text_agreement": others["text"],
        "image_agreement": others["image"],
        "unconditional": {
            "mean_confidence": guessed.amax(dim=1).mean().item(),
            "class_shares": guessed.mean(dim=0).tolist(),
        },
        "in_target_look": looks,
        "nearer_to_own": nearer,
        "vae_l1": F.l1_loss(rebuilt, real).item() / 2,
        "vae_agreement": rebuilt_right.float().mean().item(),
        "zero_shot_accuracy": (nearest == labels).float().mean().item(),
        "images_per_second": len(labels) / seconds,
        "threads": args.threads,
        "parameters": sizes,
        "training": training,
        "notes": args.notes,
        "corpus": {
            "num_images": len(data.images),
            "num_held_out": int(data.held_out.sum()),
            "contexts": dict(zip(CONTEXTS, corpus.CONTEXT_SHARES, strict=True)),
        },
        "gates": {
            "judge_accuracy": {"value": held_out["target"], "at_least": 0.88},
            "mean_agreement_ratio": {"value": float(np.mean(ratio)), "at_least": 0.95},
            "lowest_agreement_ratio": {"value": min(ratio), "at_least": 0.60},
            "nearer_to_own": {"value": float(np.mean(nearer)), "at_least": 0.70},
        },
    }


CARD = """\
---
license: apache-2.0
library_name: diffusers
pipeline_tag: image-to-image
---
# tiny-unclip

A Stable unCLIP in miniature, for the pipeline's embedded default: `StableUnCLIPImg2ImgPipeline`
of diffusers loads this folder unchanged and draws 32x32 pictures of ten kinds of garment from a
prompt, the CLIP embedding of a picture, both or neither. It is to the demo what a web-scale
model is to a user; it is of no use outside of it.

**Licence**: these weights are ours, Apache-2.0. They were trained on pictures of Fashion-MNIST
(MIT, Copyright (c) 2017 Zalando SE).

## How it was built
- **Corpus**: the {num_images:,} Fashion-MNIST training images that are **in no split of
  Fashion-LT**: the training script asserts that the two sets share no picture, neither as it is
  nor mirrored nor as a negative (sha256 of the pixels). {num_held_out:,} of them are held out.
- **Broader than the target, as web data are**: the same garments in several renderings
  ({contexts}). The target look is grey, white garment on black; the others are negatives,
  coloured and textured garments, coloured backgrounds, patterned backgrounds, many of them
  resized, shifted and mirrored. {generic:.0%} of the captions name the class only ("a photo of a
  coat"); the others tell colour, texture and background ("a red striped coat on a green
  background").
  So text alone draws all renderings, and the embedding of a target picture closes the gap.
- **Parts**: {parts}. Text encoder and vision tower are
  one CLIP with a {embed_dim}-wide joint space (the text encoder's pooled output is the text
  embedding, its projection is the identity). The vision tower was also trained to tell two light
  augmentations of one picture from those of others, and to give back an 8x8 thumbnail.
- **Denoiser**: v-prediction, scaled-linear schedule of 1,000 steps with `trailing` spacing;
  trained without text (15 %), without image (30 %: zeros for the whole image vector), with random
  coordinates of the embedding zeroed (40 %, rates 0 to 0.6) and with noised embeddings (15 %).
- **Training** (`assets/tiny_unclip.py`, seed 0, 2 CPU cores): {training}.{notes}

## Measured
{per_class} dual-conditioned samples a class, unguided by any classifier: {steps} DDIM steps,
classifier-free guidance {guidance:g}, prompts "a photo of a {{class}}", conditioning images
held-out corpus pictures in the target look. The judge is a small classifier trained on real corpus
pictures (`assets/judge/`); held-out accuracy {judge_target:.3f} in the target look, {judge_other}.

| gate | wanted | measured |
|---|---|---|
{gate_rows}

Ratio: the judge's agreement with the intended class over its own recall on real pictures.
Nearer: share of pairs in which a sample is nearer (judge's features) to its conditioning picture
than to another of the class.

| class | recall on real | dual | ratio | text alone | image alone | nearer to its own |
|---|---|---|---|---|---|---|
{class_rows}

In the target look: {looks}. Zero-shot accuracy of the CLIP on
held-out target pictures: {zero_shot:.3f}. The autoencoder gives back a held-out picture with a
mean error of {vae_l1:.3f} of the range; the judge is right on {vae_agreement:.3f} of those.
Sampling: {rate:.1f} images a second on {threads} CPU cores.
"""


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Writes card.json and, from its numbers, README.md."""
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    labels = {
        "judge_accuracy": "judge's held-out accuracy, target look",
        "mean_agreement_ratio": "ratio, mean over classes",
        "lowest_agreement_ratio": "ratio, lowest class",
        "nearer_to_own": "nearer to its own conditioning picture",
    }
    columns = ("judge_recall", "dual_agreement", "dual_agreement_ratio", "text_agreement")
    columns += ("image_agreement", "nearer_to_own")
    accuracies = card["judge_held_out_accuracy"]
    text = CARD.format(
        num_images=card["corpus"]["num_images"],
        num_held_out=card["corpus"]["num_held_out"],
        contexts=", ".join(f"{k} {v:.0%}" for k, v in card["corpus"]["contexts"].items()),
        generic=corpus.GENERIC_SHARE,
        parts=", ".join(
            f"{name.replace('_', ' ')} {count / 1e6:.2f} M"
            for name, count in card["parameters"].items()
        ),
        embed_dim=EMBED_DIM,
        training=", ".join(
            f"{name} {t['steps']:,} steps in {t['minutes']:.0f} min"
            for name, t in card["training"].items()
        ),
        notes=f" {card['notes']}" if card["notes"] else "",
        per_class=card["num_images_per_class"],
        steps=card["num_inference_steps"],
        guidance=card["guidance_scale"],
        judge_target=accuracies["target"],
        judge_other=", ".join(f"{k} {v:.3f}" for k, v in accuracies.items() if k != "target"),
        gate_rows="\n".join(
            f"| {labels[name]} | >= {gate['at_least']:.2f} | {gate['value']:.3f} |"
            for name, gate in card["gates"].items()
        ),
        class_rows="\n".join(
            f"| {name} | " + " | ".join(f"{card[column][k]:.3f}" for column in columns) + " |"
            for k, name in enumerate(card["class_names"])
        ),
        looks=", ".join(f"{kind} {share:.0%}" for kind, share in card["in_target_look"].items()),
        zero_shot=card["zero_shot_accuracy"],
        vae_l1=card["vae_l1"],
        vae_agreement=card["vae_agreement"],
        rate=card["images_per_second"],
        threads=card["threads"],
    )
    (folder / "README.md").write_text(text)


def make_card(args: argparse.Namespace) -> None:
    """Stage `card`; the exit code tells whether the gates hold."""
    card = measure(args)
    write_card(args.out, card)
    for name, gate in card["gates"].items():
        logger.info("card: %s %.3f (wanted %.2f)", name, gate["value"], gate["at_least"])
    failed = [n for n, gate in card["gates"].items() if gate["value"] < gate["at_least"]]
    if failed:
        raise ValueError(f"gates missed: {', '.join(failed)}; train the unet longer")


# ---------------------------------------------------------------- command line


def main() -> None:
    """Reads the command line and runs one stage."""
    stages: dict[str, Callable[[argparse.Namespace], None]] = {
        "vae": train_vae,
        "clip": train_clip,
        "judge": train_judge,
        "pool": encode_pool,
        "decoder": train_decoder,
        "sharpen": sharpen_decoder,
        "unet": train_unet,
        "export": export,
        "look": look,
        "card": make_card,
    }
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=sorted(stages))
    parser.add_argument("--run", type=Path, default=Path(".runs/tiny-unclip"))
    parser.add_argument("--source", type=Path, default=DEBIAN_FOLDER, help="Fashion-MNIST")
    parser.add_argument("--fashion-lt", type=Path, default=FASHION_LT, help="what to leave out")
    parser.add_argument("--out", type=Path, default=FOLDER, help="the diffusers folder")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--judge", type=Path, default=JUDGE, help="the judge's folder")
    parser.add_argument("--latents-only", action="store_true", help="pool: stop after the latents")
    parser.add_argument("--batch-size", type=int, default=128, help="unet: images a step")
    parser.add_argument("--target-share", type=float, default=0.4, help="unet: target look")
    parser.add_argument("--adversarial", type=float, default=0.05, help="sharpen: its weight")
    parser.add_argument("--notes", default="", help="card: what to add about the training")
    parser.add_argument("--guidance-scale", type=float, default=2.0, help="look, card: 1 is off")
    parser.add_argument("--steps", type=int, help="training steps in all; default per stage")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(args.threads)
    args.run.mkdir(parents=True, exist_ok=True)
    try:
        stages[args.stage](args)
    except ValueError as error:
        parser.exit(1, f"tiny_unclip: {error}\n")


if __name__ == "__main__":
    main()
