"""The science of feedback-guided data synthesis: no Prefect, no DVC, no params.yaml.

Shapes in this package: B images, C channels, H, W pixels, K classes, D features, T tokens.
"""

__version__ = "0.1.0"
