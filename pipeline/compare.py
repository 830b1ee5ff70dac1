"""Stage compare@study: the paired comparisons of a study's variants.

Reads metrics/ and runs/ of the variants that params.yaml declares, writes
comparisons/<study>.json.
"""

from pathlib import Path

from foldwise.core import config, processes


def main(name: str) -> None:
    """Compare the variants of one study."""
    from foldwise.comparison import compare_study
    from foldwise.results.comparisons import write_comparison
    from foldwise.results.evaluations import read_result

    settings, root = config.load(), Path()
    results = {v.name: read_result(root, v.name) for v in settings.variants_of(name)}
    write_comparison(root, compare_study(settings.study(name), results))


if __name__ == "__main__":
    processes.run_stage(main, "study", "sonar")
