"""`foldwise promote`: choose a study's champion by hand."""

from pathlib import Path
from typing import Annotated

import typer

from foldwise.commands.texts import studies, variants

EXAMPLES = """
examples:
  foldwise promote sonar-sound-input-dropout --why "half the log-loss, same accuracy"
  foldwise promote cifar10-batchnorm
"""


def run(
    variant: Annotated[
        str,
        typer.Argument(
            metavar="VARIANT", help="A variant of params.yaml.", autocompletion=variants
        ),
    ],
    study: Annotated[
        str | None,
        typer.Option(
            metavar="STUDY",
            help="Its study, where params.yaml no longer declares the variant.",
            autocompletion=studies,
        ),
    ] = None,
    why: Annotated[
        str, typer.Option(metavar="TEXT", help="The reason, kept with the version.")
    ] = "",
) -> None:
    """Make a variant its study's champion by hand.

    `foldwise track` moves a study's alias `champion` to what the comparison calls better. This
    command gives it to a variant by hand, and there it stays until it is given by hand again. The
    variant's present results must have been tracked from a commit: without uncommitted changes,
    and not by an experiment.
    """
    from foldwise.core import config
    from foldwise.core.environment import Environment
    from foldwise.tracking import champions

    print(champions.promote(config.load(), Path.cwd(), Environment.read(), variant, study, why))
