"""`foldwise clean`: empty the store of trained splits."""

EXAMPLES = """
example:
  foldwise clean    what is trained afterwards is trained from nothing; results stay
"""


def run() -> None:
    """Empty the store of trained splits (.foldwise/splits/).

    Runs, metrics and everything else stays as it is. The store bounds itself (2 GiB of what
    params.yaml does not declare), so this is seldom needed.
    """
    from pathlib import Path

    from foldwise.core import config
    from foldwise.engine.store import Store

    config.load()  # an error where this is no project
    store = Store(Path())
    removed = str(store)
    store.clear()
    print(f"removed {removed} ({store.folder})")
