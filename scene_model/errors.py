"""The one error type for what a user can get wrong."""


class UserError(ValueError):
    """Bad input of a user's: one clear sentence that names the file, line or key and what was expected.

    The command line prints the sentence and exits with code 2; every other exception is a bug of ours and keeps its
    traceback.
    """
