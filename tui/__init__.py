"""Everything an operator touches: the console and the command line, clients of the engine."""
