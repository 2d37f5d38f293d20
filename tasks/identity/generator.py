"""What identifies a generator in a cache key."""

from pathlib import Path

from fgds_core.generators.config import GeneratorConfig
from tasks.identity.cache import content_digests


def generator_digests(generator: GeneratorConfig) -> dict[str, str]:
    """Digests of the generator's folders; what is on the hub is known by its commit."""
    places = {generator.path: generator.revision}
    if generator.adapter is not None:
        places[generator.adapter.path] = generator.adapter.revision
    if generator.prior is not None:
        places[generator.prior.path] = generator.prior.revision
    if generator.tiny_decoder is not None:
        places[generator.tiny_decoder] = None
    local = [path for path in places if Path(path).is_dir()]
    on_hub = {
        path: hub_commit(path, revision) for path, revision in places.items() if path not in local
    }
    return on_hub | content_digests(*local)


def hub_commit(path: str, revision: str | None, cache: Path | None = None) -> str:
    """The commit that a revision of a model on the hub stands for now.

    Args:
        path: The model id.
        revision: Branch, tag or commit; None is the default branch.
        cache: The hub's cache; None is the user's.

    Returns:
        The commit, from the hub or, without network, from the cache; the revision itself where
        neither knows it (loading the model will then say why).
    """
    from huggingface_hub import model_info, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        return str(model_info(path, revision=revision, timeout=10).sha)
    except HFValidationError:  # neither a folder nor an id
        return revision or "main"
    except (OSError, HfHubHTTPError, OfflineModeIsEnabled):
        pass
    for name in ("model_index.json", "config.json", "README.md"):
        found = try_to_load_from_cache(path, name, cache_dir=cache, revision=revision)
        if isinstance(found, str):
            return Path(found).parts[Path(found).parts.index("snapshots") + 1]
    return revision or "main"
