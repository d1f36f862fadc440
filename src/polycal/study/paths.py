"""Every path below ``resources/`` and ``results/``, as a template. No other module spells one.

Names in braces are filled in by ``str.format`` or, in the rules, by Snakemake as wildcards.
"""

RESOURCES = "resources"
RESULTS = "results"
CACHE = f"{RESULTS}/.cache"
"""Finished results under their fingerprints, and unfinished training."""
CODE_PARTS = f"{RESULTS}/.versions"
"""The definitions behind each code version that made a result; the store writes them beside the cache."""
CONTROLLER_LOCK = f"{RESULTS}/snakemake"
"""Locked by the one Snakemake process that may work in a folder."""
FAILED = f"{RESULTS}/.failed"
"""Made in a run that begins with failed results, so that Snakemake comes to its end and names them."""
REFERENCE = f"{RESULTS}/reference/miniature"
"""Published table and overview of the miniature's study."""

BASE_MODEL = "model={model}/base_seed={base_seed}"
CHECKPOINT = f"{BASE_MODEL}/data={{data}}/recipe={{recipe}}/beta={{beta}}/seed={{seed}}"
"""Part of a path that names a checkpoint, except for its learning rate."""

MINIATURE = f"{RESOURCES}/miniature"
MINIATURE_MODEL = f"{MINIATURE}/models/{{architecture}}/base_seed={{base_seed}}/gate.json"
MINIATURE_DATA = f"{MINIATURE}/data.json"
MINIATURE_INSTRUCTIONS = f"{MINIATURE}/data/{{data}}"
MINIATURE_BENCHMARK = f"{MINIATURE}/benchmarks/{{benchmark}}"
MINIATURE_TRUTH = f"{MINIATURE}/truth/{{benchmark}}"

MODEL = f"{RESOURCES}/models/{{model}}/base_seed={{base_seed}}/manifest.json"
INSTRUCTIONS = f"{RESOURCES}/instructions/{{data}}.parquet"
QUESTIONS = f"{RESOURCES}/benchmarks/{{benchmark}}/{{language}}.parquet"
PARALLEL = f"{RESOURCES}/benchmarks/{{benchmark}}/parallel.json"

FINETUNED = f"{RESULTS}/checkpoints/{CHECKPOINT}/lr={{lr}}/manifest.json"
SELECTED = f"{RESULTS}/checkpoints/{CHECKPOINT}/selected.json"
SCORES = (
    f"{RESULTS}/scores/{CHECKPOINT}/benchmark={{benchmark}}/protocol={{protocol}}"
    "/language={language}/scores.parquet"
)
EMBEDDINGS = (
    f"{RESULTS}/embeddings/{CHECKPOINT}/benchmark={{benchmark}}/protocol={{protocol}}/pooling={{pooling}}"
    "/language={language}/embeddings.parquet"
)
NEXT_TOKEN = f"{RESULTS}/next_token/{CHECKPOINT}/heldout={{heldout}}/tokens.parquet"

RECORDS = tuple(
    "/".join([*template.split("/")[:2], "**", template.split("/")[-1]])
    for template in (SCORES, EMBEDDINGS, NEXT_TOKEN, FINETUNED, SELECTED)
)
"""Glob patterns of the results that several studies share."""
CHECKPOINT_FOLDERS = f"{RESULTS}/checkpoints/**/lr=*"
"""Glob pattern of the folders that contain a checkpoint's manifest, weights and training state."""

STUDY = f"{RESULTS}/studies/{{study}}"
