"""`foldwise results`: every study's table and verdicts, in the terminal."""

EXAMPLES = """
example:
  foldwise results    read from metrics/ and comparisons/, which are in git
"""


def run() -> None:
    """Show the results of every study."""
    from foldwise.core import config
    from foldwise.results.studies import read_studies
    from foldwise.wording.results import text_table

    print(text_table(read_studies(config.load())))
