"""`foldwise predict`: class probabilities for files as users have them."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from foldwise.commands.texts import at_most_one, models

EXAMPLES = """
examples:
  foldwise predict --model sonar echoes.csv                 by the champion of study sonar
  foldwise predict --model cifar10-plain cat.png dog.jpg    by one variant
  foldwise predict --model models:/sonar/2 --csv echoes.csv > answers.csv
"""


def run(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="CSV, PNG or JPEG.")],
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="A study, a variant or an address; see above.",
            autocompletion=models,
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a line per row.")] = False,
) -> None:
    """Print class probabilities for raw rows or pictures.

    MODEL is a study (its champion), a variant (its network trained on all rows), or an address
    that MLflow knows: models:/sonar@champion, runs:/<id>/model, the folder of a model.

    FILE is raw, as you have it: for a model of tables a CSV of the features, whose columns are
    matched by name where it has a header; for a model of pictures a PNG or JPEG of the right size.
    """
    at_most_one(json=json, csv=csv)
    from foldwise import prediction
    from foldwise.core.environment import Environment
    from foldwise.wording import predictions as wording

    predictor = prediction.predictor(model, Path.cwd(), Environment.read())
    note = partial(print, file=sys.stderr)
    note(predictor)
    predictions = prediction.predict(predictor, files, note)
    if json:
        wording.as_json(str(predictor), predictions, sys.stdout)
    else:
        (wording.as_csv if csv else wording.text)(predictions, sys.stdout)
