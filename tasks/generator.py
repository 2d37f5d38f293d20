"""What identifies a generator in a cache key."""

from pathlib import Path

from fgds_core.config.generator import GeneratorConfig
from tasks.cache import content_digests


def generator_digests(generator: GeneratorConfig) -> dict[str, str]:
    """Digests of the generator's folders; what is on the hub is known by its id and revision."""
    places = {generator.path: generator.revision}
    if generator.adapter is not None:
        places[generator.adapter.path] = generator.adapter.revision
    if generator.tiny_decoder is not None:
        places[generator.tiny_decoder] = None
    local = [path for path in places if Path(path).is_dir()]
    on_hub = {path: revision or "default" for path, revision in places.items()}
    return on_hub | content_digests(*local)
