"""The error for wrong input, the only one whose message is written for users."""


class InputError(ValueError):
    """Wrong input: the message says what was expected, what came, and what to do.

    The command line shows it as one line and exits with status 2. Any other exception is a bug in
    Elicit and keeps its traceback.
    """
