"""What synthesis and feedback are worth, against the strongest controls: `make controls`.

    python -m benchmarks.controls                          # the data of params.yaml
    python -m benchmarks.controls --data fashion-contexts  # those of a recipe
    python -m benchmarks.controls --test                   # and the arms' accuracy on test images
    python -m benchmarks.controls --show                   # the tables at hand, nothing is run

`arms` names what is compared, `sets` makes the images an arm learns from beside the real ones,
`pieces` trains and evaluates, `runs` keeps what was done, `table` says what came out. Everything
is kept by the digest of what makes it, so the same command goes on after it was stopped, and an
edit that changes no result repeats nothing.
"""
