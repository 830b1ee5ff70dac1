"""`foldwise predict`: class probabilities for files as users have them."""

import sys
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

    FILE is raw, as you have it: a CSV of the features, with or without a header, for a model of
    tables; a PNG or JPEG of the right size for a model of pictures.
    """
    at_most_one(json=json, csv=csv)
    from foldwise import prediction
    from foldwise.core.environment import Environment
    from foldwise.wording import predictions as wording

    predictor = prediction.predictor(model, Path.cwd(), Environment.read())
    rows = [prediction.read(path, predictor.shape) for path in files]
    for note in [predictor, *(part.note for part in rows if part.note)]:
        print(note, file=sys.stderr)
    predictions = prediction.predict(predictor, rows)
    if json:
        print(wording.as_json(str(predictor), predictions))
    else:
        print(wording.as_csv(predictions) if csv else wording.text(predictions))
