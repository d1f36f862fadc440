"""The forms of candidates in score records: what ``candidates`` and ``follow_up`` in the settings of their cells say."""

LETTERS, TEXTS = "letters", "texts"
"""The candidates are the letters of the options, or their texts."""
TRUE_LETTERS, TRUE_WORDS = "true_letters", "true_words"
P_TRUE = (TRUE_LETTERS, TRUE_WORDS)
"""Each option is proposed, and the model is asked whether it is true: by the letters A and B, or by words.

``option_logprob`` is then log P(True) of each option, so the sum over options may be above 1.
"""
LEVELS = "levels"
FOLLOW_UPS = (LEVELS, *P_TRUE)
"""What is asked about the chosen option after the question: its confidence in percent, or whether it is true."""
LEVEL_VALUES = tuple(range(0, 101, 10))
"""The confidences in percent that a model can state."""
