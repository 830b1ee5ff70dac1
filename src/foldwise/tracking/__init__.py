"""Mirror results to MLflow: the files are the truth, the store can always be built again.

The only room that imports mlflow, with those that stand above it (watching, backfill, doctor);
`place`, `summary`, `predictor`, `origin`, `records` and `workshop` do without. Start reading at
`tracker`.
"""
