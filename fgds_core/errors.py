"""Errors that a user can mend."""


class InputError(ValueError):
    """A mistake in the user's input: the message says what is wrong, where, and what to do.

    The command line prints the message alone and exits with a non-zero status.
    """


class UnfinishedError(RuntimeError):
    """Some of the work failed and the rest is kept: the message says what, and how to resume."""
