"""`foldwise results`: every study's table and verdicts, in the terminal."""

EXAMPLES = """
example:
  foldwise results    read from metrics/ and comparisons/, which are in git
"""


def run() -> None:
    """Show the results of every study."""
    from foldwise.core import config
    from foldwise.results.studies import read_studies, stand_ins
    from foldwise.wording.results import text_table
    from foldwise.wording.sentences import stand_in

    settings = config.load()
    print(text_table(read_studies(settings)))
    if notice := stand_in(stand_ins(settings)):
        print(f"\n{notice}")
