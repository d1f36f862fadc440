"""The base of all errors whose message is for the reader."""


class PolycalError(ValueError):
    """What a user can cause and mend. The message is one sentence: what is wrong, where, and what would be right.

    Each module keeps its own subclasses beside the code that raises them. The command line prints the message
    of any PolycalError without a traceback.
    """
