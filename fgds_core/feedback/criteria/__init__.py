"""Criteria: what a classifier finds useful in an image, one value per image, larger = more wanted.

One module each; `fgds_core.feedback.registry` names them.

Source: Askari Hemmat et al. (2024), Feedback-guided Data Synthesis for Imbalanced Classification,
https://arxiv.org/abs/2310.00158, section 3.
"""
