"""The forms of candidates in score records: what ``candidates`` in the settings of their cells says."""

LETTERS, TEXTS = "letters", "texts"
"""The candidates are the letters of the options, or their texts."""
TRUE_LETTERS, TRUE_WORDS = "true_letters", "true_words"
P_TRUE = (TRUE_LETTERS, TRUE_WORDS)
"""Each option is proposed, and the model is asked whether it is true: by the letters A and B, or by words.

``option_logprob`` is then log P(True) of each option, so the sum over options may be above 1.
"""
