"""Which number should a user watch? Numbers of every set of the comparison beside its gain.

    python -m benchmarks.usefulness     # of the runs that `make controls` has kept

A set's gain is the accuracy on **validation** images of the classifier that was retrained with it
less that of the control of the same seed, which was trained alike on real images alone. Only arms
count that differ from the control in their images; more real images are none, for they are not
drawn. What is `rare` is the few-shot accuracy or, where images have groups, the mean of the worst
tenth of them. Results go to `usefulness.json`, to `docs/results.md` and to a picture.
"""
