"""The ground floor: settings, paths, errors, files, environment, git. Imports no other room."""
