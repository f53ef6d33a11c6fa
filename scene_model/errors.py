"""The error types whose sentences the command line prints without a traceback."""


class UserError(ValueError):
    """Bad input of a user's: one clear sentence that names the file, line or key and what was expected.

    The command line prints the sentence and exits with code 2; every other exception is a bug of ours and keeps its
    traceback.
    """


class NonFiniteError(FloatingPointError):
    """NaN or infinity where numbers must be finite: one clear sentence that says what went wrong and where.

    It is neither a user's typo nor a plain bug. The command line prints the sentence and exits with code 3.
    """
