"""The configuration of a small study whose files do not exist, for tests that only plan."""

BASE = {
    "study": "s",
    "models": {"m": {"path": "m"}},
    "data": {"d": {"path": "d", "format": "alpaca"}},
    "benchmarks": {"b": {"path": "b", "format": "file", "languages": ["en", "fr", "yo"]}},
    "languages": {
        code: {"name": code, "script": "Latin", "resource": level}
        for code, level in [("en", "high"), ("fr", "high"), ("yo", "low")]
    },
    "recipes": {
        "r": {
            "learning_rates": [5e-06],
            "epochs": 2,
            "warmup_ratio": 0.02,
            "global_batch_size": 8,
            "micro_batch_size": 1,
        },
        "long": {"extends": "r", "epochs": 4},
    },
    "protocols": {"p": {"candidates": "letters"}},
    "grid": {
        "models": ["m"],
        "data": ["d"],
        "recipes": ["r"],
        "betas": [0, "0.10"],
        "seeds": [42],
        "benchmarks": ["b"],
        "protocols": ["p"],
    },
}
"""One model, one data set, one benchmark in three languages, and two values of β."""

MINIATURE = {
    "miniature": {"languages": ["en", "fr"]},
    "models": {"mini": {"miniature": "llama"}},
    "data": {"mini": {"miniature": "alpaca", "format": "alpaca"}},
    "benchmarks": {"mini": {"miniature": "global-mmlu", "format": "global-mmlu", "languages": ["en", "fr"]}},
}
"""Entries of the miniature, to be merged into ``BASE``."""
