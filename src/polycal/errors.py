"""The base of all errors whose message is for the reader, and of those that no further attempt can mend."""

ENVIRONMENT = (OSError, ImportError, MemoryError)
"""Causes that lie in the machine or the installation: the same cell may succeed elsewhere or later."""
MACHINE = ("CUDA", "NCCL", "out of memory", "can't allocate memory")
"""Words of PyTorch's errors that lie there, too."""


class PolycalError(ValueError):
    """What a user can cause and mend. The message is one sentence: what is wrong, where, and what would be right.

    Each module keeps its own subclasses beside the code that raises them. The command line prints the message
    of any PolycalError without a traceback.
    """


class CellError(PolycalError):
    """A cell of the grid that cannot be computed, however often it is tried; the rest of the grid can."""


class LanguageError(CellError):
    """A CellError that lies in the questions of one language; the model can answer those of others."""


def is_final(error: BaseException) -> bool:
    """Whether an error is a CellError that the machine did not cause: it will be the same the next time."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, ENVIRONMENT) or any(words in str(cause) for words in MACHINE):
            return False
        cause = cause.__cause__
    return isinstance(error, CellError)
