"""How strongly to guide: by successive halving on validation images, and over the imbalance.

    python -m benchmarks.strength                     # an hour of one core; goes on where it was
    python -m benchmarks.strength --parts halving     # one question alone
    python -m benchmarks.strength --minutes 20        # of processor time; then it stops
    python -m benchmarks.strength --show              # sums up what is there, makes nothing

`ranking` asks whether a cheap proxy ranks candidates as a full retraining does, `grid` what it
says of a grid, `halving` what of it is best, `imbalance` whether that depends on the imbalance
factor (picture in docs/images), `blends` whether rare classes want another scale. Each training is
kept in `strength_runs.json` among the results, what they say is in `strength.json`.
"""
