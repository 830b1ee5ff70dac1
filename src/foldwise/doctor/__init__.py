"""What is wrong with a project, and what mends it: `foldwise doctor`."""
