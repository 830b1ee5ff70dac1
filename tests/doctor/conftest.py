"""Projects to track and stores to track them to."""

from stores import bare, empty_database, mirrored, mirrored_once, original, processes, project

__all__ = [
    "bare",
    "empty_database",
    "mirrored",
    "mirrored_once",
    "original",
    "processes",
    "project",
]
