"""Constants that several packages share."""

LETTERS = "ABCDEFGHIJ"
"""Answer letters, in the order of the options. Questions of MMLU-ProX have up to ten options."""

IGNORE_INDEX = -100
"""Label of a position that is not a target (PyTorch's default in cross-entropy)."""

TRY_AGAIN = 75
"""Exit code of a job that saved its state and should be started again (EX_TEMPFAIL in sysexits.h)."""

NO_RETRY = "Slurm job {} ends here and is not tried again, because it would end in the same way."
"""Line in the log of a job, with its number, by which the executor knows an error that only a person can mend."""

NONE = "none"
"""Value of a key that does not apply to a cell, for example the β of a base model."""

CHECKPOINT_KEYS = ("model", "base_seed", "data", "recipe", "beta", "seed")
"""The keys of a cell that identify a checkpoint, except for its learning rate."""

CELL_KEYS = (*CHECKPOINT_KEYS, "benchmark", "protocol", "language")
"""The keys of a cell that identify a score record."""

RESOURCE_LEVELS = ("high", "mid", "low")
"""Resource levels of languages, from most to least text."""

ACCURACY_TOLERANCE = 0.005
"""Largest change in accuracy, as a share, that counts as no change, as in the paper (arXiv 2601.01362)."""
