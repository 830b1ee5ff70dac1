"""The `foldwise` command: one module a command, with its text, its options and its work.

A module imports Typer and what is light; whatever takes long to import, its `run` imports.
`main` puts them together.
"""
