"""The one error that users are meant to read."""


class InputError(ValueError):
    """Wrong input: the message says what was expected, what came, and what to do.

    The command line shows it as one line with exit status 2. Any other exception is a fault of
    Elicit's own and keeps its traceback.
    """
