"""`python -m rickhouse` is the `rickhouse` command."""

from rickhouse.apps.cli import main

if __name__ == "__main__":
    main()
