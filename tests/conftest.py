"""Tiny random models, made by the same classes as the real ones and saved the same way."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

TINY_IMAGE_SIZE = 16


@pytest.fixture(scope="session")
def tiny_unclip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a random Stable unCLIP that draws 16 x 16 RGB images from 4 x 8 x 8 latents."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        DDPMScheduler,
        StableUnCLIPImg2ImgPipeline,
        UNet2DConditionModel,
    )
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import (
        StableUnCLIPImageNormalizer,
    )
    from transformers import (
        CLIPImageProcessor,
        CLIPTextConfig,
        CLIPTextModel,
        CLIPTokenizer,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    width, tokens = 16, 32
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 2 * width}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        normalizer = StableUnCLIPImageNormalizer(embedding_dim=width)
        normalizer.mean.data.normal_(std=0.1)
        normalizer.std.data.uniform_(0.5, 1.5)
        pipeline = StableUnCLIPImg2ImgPipeline(
            feature_extractor=CLIPImageProcessor(
                size={"shortest_edge": TINY_IMAGE_SIZE},
                crop_size={"height": TINY_IMAGE_SIZE, "width": TINY_IMAGE_SIZE},
            ),
            image_encoder=CLIPVisionModelWithProjection(
                CLIPVisionConfig(
                    hidden_size=width,
                    projection_dim=width,
                    image_size=TINY_IMAGE_SIZE,
                    patch_size=8,
                    **shape,
                )
            ),
            image_normalizer=normalizer,
            image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
            tokenizer=CLIPTokenizer(
                vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=tokens
            ),
            text_encoder=CLIPTextModel(
                CLIPTextConfig(
                    vocab_size=len(words),
                    hidden_size=width,
                    max_position_embeddings=tokens,
                    bos_token_id=0,
                    eos_token_id=1,
                    pad_token_id=1,
                    **shape,
                )
            ),
            unet=UNet2DConditionModel(
                sample_size=8,
                block_out_channels=(8, 16),
                layers_per_block=1,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                cross_attention_dim=width,
                attention_head_dim=2,
                norm_num_groups=4,
                class_embed_type="projection",
                projection_class_embeddings_input_dim=2 * width,
            ),
            scheduler=DDIMScheduler(
                beta_schedule="scaled_linear",
                beta_start=0.00085,
                beta_end=0.012,
                prediction_type="v_prediction",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
            ),
            vae=AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
                block_out_channels=(8, 8),
                layers_per_block=1,
                latent_channels=4,
                norm_num_groups=4,
                sample_size=TINY_IMAGE_SIZE,
                scaling_factor=0.5,
            ),
        )
    folder = tmp_path_factory.mktemp("tiny-unclip")
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a random classifier of three classes, with its statistics on random images."""
    from fgds_core.classify import create_classifier, save_classifier
    from fgds_core.feedback import criteria_on_real, fit_class_gaussians

    names = ("cat", "dog", "owl")
    classifier = create_classifier(
        "resnet10t",
        {"stem_width": 8, "channels": [8, 8, 16, 16]},
        names,
        TINY_IMAGE_SIZE,
        seed=0,
    ).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(30, 3, TINY_IMAGE_SIZE, TINY_IMAGE_SIZE, generator=generator) * 2 - 1
    labels = torch.arange(30) % 3
    with torch.no_grad():
        gaussians = fit_class_gaussians(classifier.features(images), labels, len(names))
    folder = tmp_path_factory.mktemp("tiny-classifier")
    gaussians.save(folder / "feature_statistics.safetensors")
    save_classifier(
        folder,
        classifier,
        real_counts=[10, 10, 10],
        bins=dict.fromkeys(names, "few"),
        extra=criteria_on_real(classifier, gaussians, images, labels),
    )
    return folder


@pytest.fixture(scope="session")
def _prefect_server() -> Iterator[None]:
    """A Prefect server with a database of its own, for the tests that run flows."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=300):
        yield


@pytest.fixture
def prefect_folder(
    _prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An empty working folder with cached results of its own, which the harness leaves shared."""
    from prefect.settings import PREFECT_RESULTS_LOCAL_STORAGE_PATH, temporary_settings

    monkeypatch.chdir(tmp_path)
    with temporary_settings({PREFECT_RESULTS_LOCAL_STORAGE_PATH: tmp_path / "results"}):
        yield tmp_path
