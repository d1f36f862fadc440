"""The title, the caption and the question of every kind of figure.

The kind is the first word of a figure's file name (``ece-llama-….png``) and consists of letters only. The
report of a study shows title and caption. Snakemake's report shows the caption, and groups figures by the
question that they answer.
"""

from typing import NamedTuple


class FigureKind(NamedTuple):
    """What the reports say about figures of one kind, as plain text without markup."""

    title: str
    caption: str
    question: str
    reading: str = "what-is-measured"
    """Anchor of the section of the guided reading that explains it."""


OVERCONFIDENCE = "Is every language over-confident?"
SMOOTHING = "What does smoothing change?"
ALTERNATIVES = "Does temperature scaling do better than smoothing?"
LANGUAGES = "How well is each language calibrated?"
MEASURES = "How far can each measure of confidence be trusted, and in which languages?"
GENERATED = "How far can confidence in generated answers be trusted?"

FIGURE_KINDS = {
    "overview": FigureKind(
        "Over-confidence in every language",
        "Mean confidence minus accuracy in each language, with 95% intervals. To the right of the line a"
        " model is over-confident. Languages are sorted by resource level; languages that the instruction"
        " data lack show what tuning does to unseen languages.",
        OVERCONFIDENCE,
    ),
    "confidence": FigureKind(
        "Confidence against accuracy",
        "Change of accuracy (horizontal) and of confidence (vertical) from the base model. Each point is"
        " one checkpoint in one language. Above the dashed line confidence grew more than accuracy.",
        "Does confidence grow more than accuracy?",
    ),
    "beta": FigureKind(
        "ECE against accuracy as β rises",
        "Mean expected calibration error (ECE) and mean accuracy over languages. Each line connects the"
        " checkpoints of one data set, starting at β = 0; the grey point is the base model. Lower is better"
        " calibrated, further right is more accurate.",
        SMOOTHING,
    ),
    "recalibration": FigureKind(
        "Smoothing against temperature scaling",
        "Mean ECE over languages with 95% intervals, on the questions that were not used to fit a"
        " temperature. Temperatures are fitted on a fifth of the question ids: on English alone, per"
        " resource level, or per language. Black bars are the noise floor of the models without a"
        " temperature.",
        ALTERNATIVES,
        "the-noise-floor",
    ),
    "temperature": FigureKind(
        "Smoothing against temperature scaling in each language",
        "ECE of each language with 95% intervals: without and with smoothing, each without a temperature"
        " and with the one temperature that was fitted on English questions.",
        ALTERNATIVES,
    ),
    "truth": FigureKind(
        "ECE against the true answers",
        "Mean ECE over languages, computed in two ways: against the benchmark's answers, which are one"
        " random draw per question, and against the true probability that the chosen option is correct,"
        " which is known in a synthetic world only. The difference is the error that the benchmark itself"
        " adds. The dotted line is the ECE of the true distribution itself, which is due to chance alone.",
        "How large is the error of the benchmarks themselves?",
    ),
    "diversity": FigureKind(
        "Do languages that lose diversity lose calibration?",
        "Each point is one checkpoint in one language. Horizontal: change from the base model of the"
        " logarithm of the smallest singular value of the prompt embeddings' covariance (with shrinkage)."
        " Vertical: change of ECE. The paper's explanation predicts points in the upper left.",
        "Do languages that lose diversity lose calibration?",
    ),
    "nexttoken": FigureKind(
        "Calibration of next-token predictions",
        "Calibration of the most probable next token in held-out conversations, all languages together: ECE"
        " (top) and confidence minus accuracy (bottom), with 95% intervals from resampled conversations.",
        "Are next-token predictions calibrated?",
    ),
    "ablation": FigureKind(
        "Languages of the instruction data",
        "Confidence minus accuracy in each language after tuning on English alone, on the data set's own"
        " mixture of languages, and on equally many conversations per language. Base models and tuned models"
        " without smoothing.",
        "Do the languages of the instruction data matter?",
    ),
    "tradeoff": FigureKind(
        "ECE against accuracy in each language",
        "ECE and accuracy in each language. Each line starts at β = 0; the grey point is the base model."
        " Left of the dotted line accuracy is lower by one percentage point or more. With many languages, a"
        " panel shows a resource level, with one line for each of its languages.",
        SMOOTHING,
    ),
    "ece": FigureKind(
        "ECE by language",
        "ECE of each language with 95% intervals. The black tick is the noise floor: the ECE that a"
        " perfectly calibrated model with the same confidences would have on as many questions. An ECE near"
        " it shows no miscalibration.",
        LANGUAGES,
        "the-noise-floor",
    ),
    "reliability": FigureKind(
        "Reliability diagrams",
        "The languages whose gap at the lowest β is least, in the middle and greatest, and those that the"
        " configuration names; the explorer of the page has all. Questions are sorted into bins of confidence"
        " (horizontal). Each point is the accuracy in a bin with its 95% interval; bars show the share of questions in"
        " the bin. A calibrated model is on the dashed line, an over-confident one below it. A point over a low bar is"
        " based on few questions.",
        LANGUAGES,
        "a-reliability-diagram",
    ),
    "measuregap": FigureKind(
        "Over-confidence of each measure of confidence",
        "Confidence minus accuracy in each language, with 95% intervals: one panel for each way to measure how"
        " confident a model is of the same answers. To the right of the line the measure says more than the model"
        " knows.",
        MEASURES,
    ),
    "measureauroc": FigureKind(
        "How well each measure of confidence separates right from wrong answers",
        "Mean AUROC over the languages of each resource level, with 95% intervals: the probability that a right"
        " answer has more confidence than a wrong one. At 0.5, the vertical line, the measure says nothing about"
        " which answers are right.",
        MEASURES,
    ),
    "generatedgap": FigureKind(
        "Over-confidence in generated answers",
        "Confidence minus accuracy in each language, with 95% intervals: one panel for each way to measure how"
        " confident a model is of the answers that it writes itself. To the right of the line the measure says more"
        " than the model knows.",
        GENERATED,
    ),
    "generatedauroc": FigureKind(
        "How well each measure of confidence separates right from wrong generated answers",
        "Mean AUROC over the languages of each resource level, with 95% intervals: the probability that a right"
        " answer has more confidence than a wrong one. At 0.5, the vertical line, the measure says nothing about"
        " which answers are right.",
        GENERATED,
    ),
    "rungap": FigureKind(
        "Over-confidence of each run in every language",
        "Mean confidence minus accuracy of each run in each language, with 95% intervals. To the right of the"
        " line a model is over-confident.",
        OVERCONFIDENCE,
    ),
    "runece": FigureKind(
        "ECE of each run by language",
        "ECE of each run in each language, with 95% intervals. The black tick is the noise floor in the mean of"
        " the runs: the ECE that a perfectly calibrated model with the same confidences would have on as many"
        " questions. An ECE near it shows no miscalibration.",
        LANGUAGES,
        "the-noise-floor",
    ),
    "runreliability": FigureKind(
        "Reliability diagrams of each run",
        "One column for each run. If languages are many, those whose mean gap over the runs is least, in the"
        " middle and greatest; the explorer of the page has all. Each point is the accuracy in a bin of"
        " confidence with its 95% interval; bars show the share of questions in the bin. A calibrated model is"
        " on the dashed line, an over-confident one below it.",
        LANGUAGES,
        "a-reliability-diagram",
    ),
}
"""The kinds of figures, in the order in which the report shows them."""


def kind_of(figure: str) -> str:
    """The kind of a figure, from its file name without suffix."""
    return figure.partition("-")[0]
