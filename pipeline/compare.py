"""Stage compare@study: the paired comparisons of a study's variants.

Reads metrics/ and runs/ of the variants that params.yaml declares, writes
comparisons/<study>.json.
"""

import json

import pandas as pd

from foldwise import results
from foldwise.comparison import VariantResult, compare_study
from foldwise.core import config, files, paths, processes


def read(variant: str) -> VariantResult:
    """What the comparison needs of one variant."""
    return VariantResult(
        metrics=json.loads(paths.metrics(variant).read_text(encoding="utf-8")),
        scores=pd.read_csv(paths.scores(variant)),
        predictions=results.read_table(paths.run(variant), results.PREDICTIONS),
        manifest=results.read_manifest(paths.run(variant)),
    )


def main(name: str) -> None:
    """Compare the variants of one study."""
    settings = config.load()
    study = settings.study(name)
    variants = {v.name: read(v.name) for v in settings.variants_of(name)}
    files.write_json(paths.comparison(name), compare_study(name, study, variants))


if __name__ == "__main__":
    processes.run(main, "study", "sonar")
