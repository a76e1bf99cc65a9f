"""The command line's verbs: each a client of the engine like the console."""
