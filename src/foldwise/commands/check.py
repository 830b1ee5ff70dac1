"""`foldwise check`: is params.yaml valid, and what does it ask for?"""

EXAMPLES = """
example:
  foldwise check    a line for each study; an error names key, value and remedy
"""


def run() -> None:
    """Check params.yaml and show what it asks for."""
    from foldwise.core import config
    from foldwise.engine import limits

    settings = config.load()
    for name, study in settings.studies.items():
        members = settings.variants_of(name)
        models = (study.cv.folds * study.cv.repeats + 1) * len(members)
        print(
            f"{name}: {len(members)} variants x ({study.cv.folds} folds x {study.cv.repeats} "
            f"repeats + refit) = {models} models of {study.training.epochs} epochs on "
            f"'{study.dataset}'"
        )
    limits.check_settings(settings)
