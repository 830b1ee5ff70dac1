"""What is wrong with a project, and what fixes it: `foldwise doctor`."""
