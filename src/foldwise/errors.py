"""The exceptions that foldwise raises for its users: each message names place, value and remedy."""


class FoldwiseError(Exception):
    """Something that the user can mend; shown as one message, without a traceback."""


class ConfigError(FoldwiseError):
    """params.yaml or an environment variable asks for something that cannot be."""


class DataError(FoldwiseError):
    """A data file cannot be had, or its content is not what it must be."""


class TrainingError(FoldwiseError):
    """Training could not be done: a worker died, a device is not there."""


class DivergedError(TrainingError):
    """A model's loss is no longer finite: a property of its settings, hence a result."""


class ResultsError(FoldwiseError):
    """A run folder is missing, incomplete or damaged."""


class ComparisonError(FoldwiseError):
    """Two results must not be compared."""


class TrackingError(FoldwiseError):
    """The MLflow store cannot be reached or read; the results on disk are safe."""
