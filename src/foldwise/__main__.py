"""`python -m foldwise`: the same as `foldwise`."""

from foldwise.commands.main import main

if __name__ == "__main__":
    main()
