"""Data sets: where their bytes come from, how they are read, how the arrays lie on disk.

`fetch` gets the raw files, one module per data set reads them, `prepared` keeps the arrays.
A data set is added by adding one module; `registry` says what it must have.
"""
