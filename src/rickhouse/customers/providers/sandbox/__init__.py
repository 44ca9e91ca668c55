"""The bureau simulator, `rickhouse simulate bureau`."""
