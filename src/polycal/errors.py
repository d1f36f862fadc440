"""The base of all errors whose message is for the reader, and of those that no further attempt can mend."""

import errno

MACHINE = ("CUDA", "NCCL", "out of memory", "can't allocate memory")
"""Words of PyTorch's errors that lie in the machine."""


class PolycalError(ValueError):
    """What a user can cause and mend. The message is one sentence: what is wrong, where, and what would be right.

    Each module keeps its own subclasses beside the code that raises them. The command line prints the message
    of any PolycalError without a traceback.
    """


class CellError(PolycalError):
    """A cell of the grid that cannot be computed, however often it is tried; the rest of the grid can."""


class TransientError(PolycalError):
    """An error that lies in the machine, the network or another process, so that another attempt may go well."""


class LanguageError(CellError):
    """A CellError that lies in the questions of one language; the model can answer those of others."""


def is_final(error: BaseException) -> bool:
    """Whether an error is a CellError that the machine did not cause: it will be the same the next time."""
    return isinstance(error, CellError) and not _caused_by_the_machine(error)


def needs_a_person(error: BaseException) -> bool:
    """Whether an attempt without a change of settings, code or files would end with the same error."""
    expected = isinstance(error, PolycalError) and not isinstance(error, TransientError)
    return expected and not _caused_by_the_machine(error)


def _caused_by_the_machine(error: BaseException) -> bool:
    if isinstance(error.__cause__, ImportError):
        return True
    causes = []
    cause = error.__cause__ or error.__context__
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return any(_lies_in_the_machine(cause) for cause in causes)


def _lies_in_the_machine(error: BaseException) -> bool:
    """Memory, GPU, or a file that exists and cannot be read or written.

    transformers raises OSError without a number for what it cannot use.
    """
    if isinstance(error, OSError):
        return error.errno not in (None, errno.ENOENT)
    return isinstance(error, MemoryError) or any(words in str(error) for words in MACHINE)
