"""Mirror results to MLflow: the files are the truth, the store can always be built again.

The only room that imports mlflow, with those that stand above it (watching, backfill, doctor);
`place`, `summary`, `predictor`, `origin`, `records` and `workshop` do without.

- `place`: where the store is.
- `origin`: who tracked, from which commit.
- `records`: a variant's results → what each of its MLflow runs is to be.
- `server`, `store`: open a store safely; every failure becomes one clear `TrackingError`.
- `models`, `workshop`: the trained networks as MLflow models, made by a process of their own.
- `served`: how such a model is loaded and asked; a copy travels inside each of them.
- `experiments`: the experiments and runs of a store, found, made and deleted.
- `live`: the runs of trainings that still go on.
- `mirror`: results → runs: create what is missing, complete what is not whole.
- `champions`: a registered model per study, a version per result, and which one is champion.
- `tracker`: all of it for one workspace. Start reading here.
- `loading`, `predictor`: the address of a model → the model.
"""
