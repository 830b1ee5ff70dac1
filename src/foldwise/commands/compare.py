"""`foldwise compare`: B against A on the same splits, in the workspace or across commits."""

from typing import Annotated, Literal

import typer

from foldwise.commands.texts import at_most_one, studies, variants

EXAMPLES = """
examples:
  foldwise compare sonar-baseline sonar-hidden-dropout      B against A, in the workspace
  foldwise compare sonar-hidden-dropout --rev main          the same variant: main, workspace
  foldwise compare --rev main --markdown --fail-if worse    all of them, as a gate for CI
  foldwise compare --rev v1 --rev v2 --study sonar          a study between two tags
  foldwise compare A B --rev v1 --rev v2                    A at v1, B at v2
  foldwise compare A --rev brave-otter                      a DVC experiment

exit status:
  0  compared; with --fail-if worse: and no pair is an established loss ("Hurts")
  1  an error: no answer
  2  nothing could be compared; with --fail-if worse: a pair could not
  3  with --fail-if worse: a pair is an established loss
"""


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="VARIANT", help="A, and B.", autocompletion=variants),
    ] = None,
    rev: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REV",
            help="Commit, tag, branch or DVC experiment of side A; given again, of side B.",
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(metavar="STUDY", help="Only variants of this study.", autocompletion=studies),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, with every number.")] = False,
    fail_if: Annotated[
        Literal["worse"] | None, typer.Option(metavar="worse", help="See the exit status below.")
    ] = None,
) -> int:
    """Compare B with A on the same splits.

    A and B are two variants, or one variant at two commits. Side A is the first --rev, side B the
    second; a side without --rev is the workspace. Without names, every variant that both sides
    have is compared.
    """
    at_most_one(markdown=markdown, json=json)
    from foldwise import revisions
    from foldwise.wording import revisions as wording

    content = revisions.compare(names or [], rev or [], study)
    show = wording.as_json if json else wording.markdown if markdown else wording.text
    print(show(content))
    return revisions.exit_status(content, fail_if == "worse")
