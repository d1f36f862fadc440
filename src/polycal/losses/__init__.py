"""The label-smoothed cross-entropy in PyTorch. It can be used without the rest of polycal.

``polycal.losses.smoothed_head`` installs it in a model of transformers.
"""

from polycal.losses.label_smoothing import TokenStatistics, smoothed_cross_entropy, token_statistics

__all__ = ["TokenStatistics", "smoothed_cross_entropy", "token_statistics"]
