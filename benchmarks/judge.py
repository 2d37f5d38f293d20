"""How often a judge is right of real images, and how often its interval holds what it says.

    dvc repro judge                               # or python -m flows.judge
    python -m benchmarks.judge recall             # seconds; writes judge.json, by the judge's kind
    python -m benchmarks.judge interval           # a minute

recall: of each class the share of real validation images in which the judge of this workspace sees
it, and the share of the others that it takes for it. interval: agreement as a share of recall, of
images and validation images that are drawn by chance, and how often its interval of "95 %" holds
the true share.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.experiments import RESULTS, write_json
from fgds_core.data.meta import read_meta
from fgds_core.data.splits import read_prepared
from fgds_core.judge.agreement import share_of_recall
from fgds_core.judge.judge import load_judge
from fgds_core.judge.record import Recognised, read_record

RESULT = RESULTS / "judge.json"
PREPARED, JUDGE = Path("data/prepared"), Path("models/judge")
SURE = 0.9

NUM_SYNTHETIC, NUM_REAL = (10, 50, 200), (8, 20, 200)
RECALLS, SHARES = (0.6, 0.9), (0.5, 0.9, 1.0)


def recall() -> dict[str, Any]:
    """What the judge of this workspace recognises of real validation images, in percent."""
    meta, val = read_meta(PREPARED), read_prepared(PREPARED, "val")
    judge = load_judge(JUDGE, meta.class_names, "cpu")
    probabilities = torch.cat([found.cpu() for _, found in judge.passes(val)])  # [N, K]
    sure, seen = probabilities.max(dim=1)  # [N] each
    labels = val.labels
    of_class = {}
    for label, name in enumerate(meta.class_names):
        own = labels == label
        of_class[name] = {
            "train": meta.counts["train"][label],
            "recall": percent(seen[own] == label),
            "wrong": percent(seen[~own] == label),
        }
    is_sure = sure >= SURE
    return {
        "num_images": len(labels),
        "classes": of_class,
        "recall": round(float(np.mean([each["recall"] for each in of_class.values()])), 1),
        "sure": percent(is_sure),
        "right_where_sure": percent((seen == labels)[is_sure]),
    }


def percent(said: torch.Tensor) -> float:
    """The share of what is true, in percent."""
    return round(100 * float(said.double().mean()), 1)


def interval(draws: int) -> list[dict[str, Any]]:
    """How often the interval of agreement as a share of recall holds the true share."""
    rng, found = np.random.default_rng(0), []
    for num_synthetic, num_real, known, share in product(NUM_SYNTHETIC, NUM_REAL, RECALLS, SHARES):
        held = []
        for right, seen in zip(
            rng.binomial(num_synthetic, known * share, draws).tolist(),
            rng.binomial(num_real, known, draws).tolist(),
            strict=True,
        ):
            said = share_of_recall(
                [Recognised(num_synthetic, right)], [Recognised(num_real, seen)]
            )
            if said.value is not None and said.low is not None:
                held.append(said.low <= share and (said.high is None or share <= said.high))
        case = {"num_synthetic": num_synthetic, "num_real": num_real}
        found.append({**case, "recall": known, "share": share, "held": float(np.mean(held))})
    return found


def main() -> None:
    """Measures one part and adds it to the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=("recall", "interval"))
    parser.add_argument("--draws", type=int, default=1000, help="of each case of the intervals")
    asked = parser.parse_args()
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    if asked.part == "recall":
        found: Any = recall()
        kind = "cross_fitted" if read_record(JUDGE).num_folds else "trained elsewhere"
        results.setdefault("recall", {})[kind] = found
    else:
        found = interval(asked.draws)
        held = [case["held"] for case in found]
        results["interval"] = {"least": min(held), "most": max(held), "cases": found}
    print(json.dumps(found, indent=1))
    write_json(RESULT, results)


if __name__ == "__main__":
    main()
