"""Age bureaus. Which one is asked is decided by `apps`."""
