"""What the pipeline found, typed: the only reader and writer of runs, metrics and comparisons.

- `runs`: runs/<variant>/, what training one variant leaves.
- `evaluations`: metrics/<variant>.json and .csv, how well it did.
- `comparisons`: comparisons/<study>.json, whether one does better than another.
- `studies`: all of a study's results together.
"""
