"""The command `run`: an index for one user, for as long as a command runs."""
