"""`foldwise demo`: the whole pipeline in a folder of its own, on synthetic data."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
examples:
  foldwise demo             in .demo, in about a minute, without network
  foldwise demo /tmp/demo   in another folder; a second run repeats nothing
"""


def run(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Made where needed.")] = Path(
        ".demo"
    ),
) -> None:
    """Run the whole pipeline on synthetic data."""
    from foldwise import demo, doctor
    from foldwise.core import paths
    from foldwise.doctor import locks

    demo.make_workspace(Path.cwd(), folder)
    doctor.fix(locks.examine(folder.resolve()))  # of one that was killed
    demo.dvc(folder, "repro")
    print(f"\nSYNTHETIC results, which say nothing about real data:\n  {folder / paths.REPORT}")
    print(f"  cd {folder} && foldwise ui")
