"""What identifies a generator in a cache key."""

from pathlib import Path

from fgds_core.config.generator import GeneratorConfig
from tasks.cache import content_digests


def generator_digests(generator: GeneratorConfig) -> dict[str, str]:
    """Digest of the generator's folder; a model on the hub is known by its id and revision."""
    if Path(generator.path).is_dir():
        return content_digests(generator.path)
    return {generator.path: generator.revision or "default"}
