"""How the page of 1,000 classes with 20 synthetic pictures each opens, in headless Chromium.

    python -m benchmarks.page                # minutes; writes results/page.json
    python -m benchmarks.page --classes 50   # writes nothing

The run is made up (`tests/reported.py`): no network is trained, and what is measured is the page.
Pictures are noise of 32 pixels, 3 kB each. Seconds of the processor are those of the page's own
thread, which other work on the machine disturbs less than the clock.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.experiments import write_json
from benchmarks.sampling import machine

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "page.json"
SIZE = 32  # pixels a side
REASONS = (
    "first",
    "first,worst",
    *["first"] * 12,
    "worst",
    "worst",
    "best",
    "best",
    "best",
    "copy",
)
"""Why each of the 20 pictures of a class is shown."""


def main() -> int:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=1000, metavar="K")
    number = parser.parse_args().classes
    with tempfile.TemporaryDirectory(prefix="fgds-page-") as folder:
        path, made = make(Path(folder), number)
        found = {**made, **opened(path), "machine": machine()}
    print(json.dumps(found, indent=1))
    if number == 1000:
        write_json(RESULT, found)
    return 0


def make(folder: Path, num_classes: int) -> tuple[Path, dict[str, Any]]:
    """Makes up a run and writes its page."""
    sys.path.insert(0, str(ROOT / "tests"))
    from reported import CONFIG, PARAMS, make_workspace

    from fgds_core.report.page import write_report

    names = [f"class {number:04d}" for number in range(num_classes)]
    places = make_workspace(folder, names, size=SIZE, num_test=10, evidence=True, shown=REASONS)
    shown = {"max_classes": num_classes, "images_per_class": 20, "neighbours_per_image": 2}
    config = CONFIG.model_copy(update={**shown, "max_page_mb": 15.0})
    begun = time.process_time()
    path = write_report(places, PARAMS, config)
    beside = [file.stat().st_size for file in (path.parent / "pictures").iterdir()]
    return path, {
        "classes": num_classes,
        "synthetic_pictures_of_a_class": len(REASONS),
        "written_cpu_s": round(time.process_time() - begun, 2),
        "page_mb": round(path.stat().st_size / 1e6, 2),
        "pictures_beside_mb": round(sum(beside) / 1e6, 1),
        "files_beside": len(beside),
    }


def opened(path: Path) -> dict[str, Any]:
    """Opens the page at a desk and on a phone, and does what a person does."""
    from browser import Watched, browser

    with browser() as chrome:
        desk = Watched(chrome, path, viewport={"width": 1280, "height": 860})
        page = desk.page
        loaded = page.evaluate("performance.timing.loadEventEnd - performance.timing.fetchStart")
        found: dict[str, Any] = {"load_event_s": loaded / 1000, "opened_cpu_s": desk.busy_s()}
        desk.drawn()
        found["all_charts_drawn_cpu_s"] = desk.busy_s()
        last = page.locator("#class-table tbody tr").count() - 1
        for name, act in {
            "sort": lambda: page.locator("#class-table thead button").nth(8).click(),
            "search": lambda: page.fill("#search", f"class {last:04d}"),
            "open_a_class": lambda: (
                page.locator("#class-table tbody tr:visible a").click(),
                page.wait_for_selector(f"#open-class[data-open='{last}'] .tile img"),
            ),
            "open_a_picture": lambda: page.locator("#open-class .tile").first.click(),
        }.items():
            before = desk.busy_s()
            act()
            page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
            found[f"{name}_cpu_s"] = desk.busy_s() - before
        phone = Watched(chrome, path, viewport={"width": 390, "height": 844})
        phone.drawn()
        found["phone_width"] = phone.page.evaluate("document.documentElement.scrollWidth")
        found["complaints"] = [*desk.complaints, *phone.complaints]
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}


if __name__ == "__main__":
    sys.exit(main())
