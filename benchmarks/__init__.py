"""The notebook's own loops, the peers, and the harness that times them side by side.

`python -m benchmarks --help` says how; docs/performance.md explains the table.
"""
