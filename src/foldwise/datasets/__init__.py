"""Data sets: where their bytes come from, how they are read, how the arrays lie on disk.

`download` gets the raw files, each by `transfer`; one module for each data set reads them;
`prepared` keeps the arrays. A data set is added by adding one module; `readers` says what it
must have.
"""
