"""Tiny random models, made by the same classes as the real ones and saved the same way.

Also how the tests are spread: a process per core, each file whole in one of them, those that take
long first. What is dear to make is made once for all processes; see `once.py`.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from micro import results_in
from once import once
from sets import image_set
from tiny import TINY_IMAGE_SIZE

import flows  # noqa: F401  # before Prefect, whose console is to be quiet

LONG = (
    "test_deployments",
    "flows/test_synthesize_flow",  # while another process makes the clone of the first
    "faults",
    "test_experiments",
    "test_pipeline",
    "flows",
    "tasks",
)
"""Beginnings of the files that take longest, in the order they begin."""

torch.set_num_threads(1)  # the networks are tiny, and each core has a process
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same for the commands that tests run


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """No other process for what was named on the command line: it takes less than their start."""
    return None if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that take long, so that no process ends long before the others."""

    def rank(item: pytest.Item) -> int:
        name = item.path.relative_to(Path(__file__).parent).as_posix()
        return next((i for i, start in enumerate(LONG) if name.startswith(start)), len(LONG))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def tiny_unclip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a random Stable unCLIP that draws 16 x 16 RGB images from 4 x 8 x 8 latents."""
    return tiny.save(tiny.stable_unclip, tmp_path_factory.mktemp("tiny-unclip"))


@pytest.fixture(scope="session")
def finished(tiny_unclip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small clone of this repository with all stages run and committed; to be copied.

    Its path has what paths seldom have. What the job said is in `job.txt` beside it; the commit
    before is that without outputs.
    """
    from clones import commit, make_clone, module, one_server

    name = "ein Klon's ä & $HOME #1 100%"

    def make(folder: Path) -> None:
        clone = make_clone(folder / name, tiny_unclip)
        with one_server(tmp_path_factory.mktemp("prefect")):
            (folder / "job.txt").write_text(module(clone, "flows.repro"))
        commit(clone)

    return once(tmp_path_factory, "finished", make) / name


@pytest.fixture(scope="session")
def tiny_generators(
    tiny_unclip: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, object]]:
    """The section `generator` for a random generator of every kind, by a name for each."""
    folder = tmp_path_factory.mktemp("tiny-generators")
    for name, make in tiny.PIPELINES.items():
        tiny.save(make, folder / name)
    tiny.save(tiny.kandinsky_prior, folder / "kandinsky-prior")
    for name in ("stable-diffusion", "stable-diffusion-xl"):
        tiny.save_adapter(folder / name, folder / "adapters" / name)
    tiny.save(tiny.tiny_decoder, folder / "tiny-decoder")
    return {
        "stable-unclip": {"kind": "stable-unclip", "path": str(tiny_unclip)},
        **{
            name: {"kind": "text-to-image", "path": str(folder / name)}
            for name in ("stable-diffusion", "stable-diffusion-xl")
        },
        **{
            f"{name}, ip-adapter": {
                "kind": "ip-adapter",
                "path": str(folder / name),
                "adapter": {
                    "path": str(folder / "adapters"),
                    "revision": None,
                    "subfolder": name,
                    "weight_name": "adapter.safetensors",
                    "image_encoder": "image_encoder",
                    "scale": 0.7,
                },
            }
            for name in ("stable-diffusion", "stable-diffusion-xl")
        },
        "stable-diffusion-3": {
            "kind": "stable-diffusion-3",
            "path": str(folder / "stable-diffusion-3"),
        },
        "kandinsky-2.2": {
            "kind": "kandinsky-2.2",
            "path": str(folder / "kandinsky-2.2"),
            "prior": {
                "path": str(folder / "kandinsky-prior"),
                "revision": None,
                "num_inference_steps": 3,
                "guidance_scale": 2.0,
                "text_share": 0.5,
            },
        },
    }


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a random classifier of three classes, with its statistics on random images."""
    from fgds_core.classify.network import create_classifier
    from fgds_core.classify.save import save_classifier
    from fgds_core.feedback.fit import fit_class_gaussians
    from fgds_core.feedback.targets import criteria_on_real

    names = ("cat", "dog", "owl")
    classifier = create_classifier(
        "resnet10t",
        {"stem_width": 8, "channels": [8, 8, 16, 16]},
        names,
        TINY_IMAGE_SIZE,
        seed=0,
    ).eval()
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(30, 3, TINY_IMAGE_SIZE, TINY_IMAGE_SIZE, generator=rng) * 2 - 1
    labels = torch.arange(30) % 3
    with torch.no_grad():
        gaussians = fit_class_gaussians([classifier.features(images)], labels, len(names))
    folder = tmp_path_factory.mktemp("tiny-classifier")
    gaussians.save(folder / "feature_statistics.safetensors")
    save_classifier(
        folder,
        classifier,
        real_counts=[10, 10, 10],
        bins=dict.fromkeys(names, "few"),
        extra=criteria_on_real(classifier, gaussians, image_set(images, labels, names)),
    )
    return folder


@pytest.fixture(scope="session")
def _prefect_server() -> Iterator[None]:
    """A Prefect server with a database of its own, for the tests that run flows.

    Without heartbeats: the thread that sends them ends up to a second after each flow.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=300),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that were drawn rather than found, by path."""
    import tasks.draw

    paths: list[str] = []
    write_part = tasks.draw.write_part

    def counting(part, *arguments, **options):
        paths.append(part.path)
        return write_part(part, *arguments, **options)

    monkeypatch.setattr(tasks.draw, "write_part", counting)
    return paths


@pytest.fixture
def prefect_folder(
    _prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An empty working folder with cached results of its own, which the harness leaves shared."""
    monkeypatch.chdir(tmp_path)
    with results_in(tmp_path):
        yield tmp_path


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[str]:
    """A real S3 API on loopback, as host:port."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def s3(_s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of that service with one empty bucket; boto3 finds credentials in variables."""
    from types import SimpleNamespace
    from urllib.request import Request, urlopen

    import s3

    from tasks.store.bucket import open_bucket

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "no-such-file"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.SECRET)
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))
    open_bucket.cache_clear()
    urlopen(Request(f"http://{_s3_server}/moto-api/reset", method="POST")).close()
    client = s3.client(f"http://{_s3_server}")
    client.create_bucket(Bucket=s3.BUCKET)
    yield client
    open_bucket.cache_clear()


@pytest.fixture
def network(s3: Any, _s3_server: str) -> Iterator[Any]:
    """A network in front of the service that fails as it is told; see tests/s3.py."""
    from s3 import network

    with network(_s3_server) as server:
        yield server
