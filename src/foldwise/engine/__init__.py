"""Trains the networks of a variant: from splits and arrays to a run."""
