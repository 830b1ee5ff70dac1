"""Trains the networks of a variant, together: from splits and arrays to a run folder."""
