"""Feedback guidance: steers sampling up the gradient of a criterion of the predicted clean image.

It is made of functions. A `Look` is what the sampler asks at each step, (z, level) -> (z, z0):
`plain` asks the denoiser, `guided` steers as well, `at` chooses between two by the step. What
guidance steers by is a `Gradient`: `gradient_of` finds it, and `up_to`, `reused` and `recorded`
make other such functions of it. All gradients, norms and decisions belong to one image; nothing is
shared in a batch.

Source: Askari Hemmat et al. (2024), https://arxiv.org/abs/2310.00158, section 3.
"""
