"""Every sentence, table cell and Markdown that foldwise writes, made from typed records.

For the terminal, the report, the README and MLflow. Nothing here reads or writes a file.

- `numbers`: a number in the unit of what it measures.
- `tables`: aligned text and Markdown.
- `sentences`: what a comparison says, and the protocol behind it.
- `evidence`: every number of a comparison.
- `results`: the results of studies.
- `revisions`: comparisons across commits.
- `notes`: descriptions in MLflow.
- `predictions`: predictions for a file's rows.
"""
