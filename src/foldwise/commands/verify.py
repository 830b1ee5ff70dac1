"""`foldwise verify`: do the results come out again, to the byte?"""

from typing import Annotated

import typer

from foldwise.commands.texts import variants
from foldwise.core.endings import DONE, NEGATIVE

EXAMPLES = """
examples:
  foldwise verify                        a split of every variant in params.yaml
  foldwise verify sonar-baseline --all   every split of one

exit status:
  0  all that was trained again is the same to the byte
  1  an error: no answer
  3  something differs
"""


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VARIANT", help="Of params.yaml; without any, all.", autocompletion=variants
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every split, not only one.")] = False,
) -> int:
    """Train a split of each run again, and compare it to the byte.

    The compiled code gives the same bits on every x86-64 machine with AVX2 and FMA. Where something
    differs, this says what run.json records otherwise (versions, hardware, code) and by how much
    the scores differ. Nothing is written; the store of trained splits is passed over.
    """
    from foldwise.core import config
    from foldwise.core.environment import Environment
    from foldwise.engine.verification import verify
    from foldwise.wording import verification

    settings = config.load()
    wanted = [settings.variant(name).name for name in names or settings.variants]
    done = verify(wanted, Environment.read(), every)
    for each in done:
        print(verification.text(each))
    return NEGATIVE if any(each.differences for each in done) else DONE
