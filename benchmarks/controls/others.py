"""Images of other generators, trained on the same real images, in place of the product's."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from benchmarks.controls.place import Place, locked
from benchmarks.controls.sets import Made
from benchmarks.controls.written import asked, write_set
from fgds_core.files import write_json
from fgds_core.synthesis.plan import plan_of
from fgds_core.synthesis.shards import INDEX_NAME, read_synthetic

METHODS: Mapping[str, str] = {
    "vae": "benchmarks.controls.vae",
    "gan": "benchmarks.controls.gan",
}
"""Name -> the module with `fit` and `sample`."""


SHARED = "benchmarks.controls.conditions"
"""What they have in common."""


def _code(method: str) -> str:
    """Digest of the code of a method."""
    found = sha256()
    for name in (SHARED, METHODS[method]):
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        found.update(Path(spec.origin).read_bytes())
    return found.hexdigest()[:20]


@dataclass(frozen=True)
class Other:
    """Images of a generator that is trained on the real training images alone.

    Attributes:
        method: Name in `METHODS`.
    """

    method: str

    def made_by(self, place: Place) -> str:
        """What decides the images of every seed."""
        plan = plan_of(place.meta, place.params["synthesize"])
        return f"{self.method} {_code(self.method)}: {plan.wanted}"

    def make(self, place: Place, seed: int) -> Made:
        """Trains the generator and draws from it, unless that was done."""
        out = place.folder / "sets" / place.identity(self.made_by(place), seed)
        cost_file = out / ".cost.json"
        with locked(out):
            if not (out / INDEX_NAME).is_file():
                module = import_module(METHODS[self.method])
                real = place.real.train
                wanted = asked(plan_of(place.meta, place.params["synthesize"]), real, seed)
                started = time.process_time()
                images = module.sample(module.fit(real, seed), wanted)
                seconds = (time.process_time() - started) / len(images)
                out.mkdir(parents=True, exist_ok=True)
                write_json(cost_file, {"seconds_per_image": seconds})
                write_set(images, wanted, out, place.meta, out.name)
            images, table = read_synthetic(out)
        seconds = json.loads(cost_file.read_text())["seconds_per_image"]
        return Made(images, table, out.name, seconds)
