"""Rules: what a gradient does to a latent. One module each, loaded when it is chosen."""

from importlib import import_module

from fgds_core.diffusion.guidance.look import Rule

RULES = {
    "relative": "fgds_core.diffusion.guidance.rules.relative",
    "score": "fgds_core.diffusion.guidance.rules.score",
}
"""The module of each rule by its name in the parameters; its function has the same name."""


def load_rule(name: str) -> Rule:
    """The rule called `name`, one of `RULES`."""
    rule: Rule = getattr(import_module(RULES[name]), name)
    return rule
