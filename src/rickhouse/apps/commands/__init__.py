"""What each command of the `rickhouse` command line does; its name belongs in `cli.py`."""
