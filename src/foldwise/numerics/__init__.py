"""What decides the numbers of a training: arrays in, arrays out. Knows nothing else of foldwise."""
