"""Base classes of polycal's errors, and the test whether trying again can help."""

import errno

MACHINE = ("CUDA", "NCCL", "out of memory", "can't allocate memory")
"""Words in PyTorch's errors that the machine causes, not the model or the data."""


class PolycalError(ValueError):
    """An error that a user can cause and fix.

    Its message is one sentence: what is wrong, where, and what would be right. Each subclass is defined in
    the module that raises it. The command line prints the message without a traceback.
    """


class CellError(PolycalError):
    """One cell of the grid cannot be computed, however often it is tried. Other cells are not affected."""


class TransientError(PolycalError):
    """The machine, the network or another process caused the error, so another attempt may succeed."""


class LanguageError(CellError):
    """A cell cannot be computed because of the questions of its language.

    The model works in other languages.
    """


def is_final(error: BaseException) -> bool:
    """Whether ``error`` will occur again at each attempt: a CellError that the machine did not cause."""
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
    return any(_is_machine_fault(cause) for cause in causes)


def _is_machine_fault(error: BaseException) -> bool:
    """Whether memory, the GPU, or a file that exists but cannot be read or written caused ``error``."""
    if isinstance(error, OSError):
        # transformers raises OSError without a number for a model that it does not support
        return error.errno not in (None, errno.ENOENT)
    return isinstance(error, MemoryError) or any(words in str(error) for words in MACHINE)
