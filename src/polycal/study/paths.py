"""Templates of the paths of all results, below ``resources/`` and ``results/``. Other modules use these names.

``str.format`` fills in the names in braces. In the rules, they are Snakemake's wildcards.
"""

RESOURCES = "resources"
RESULTS = "results"
CACHE = f"{RESULTS}/.cache"
"""The cache: finished results under their fingerprints."""
FIGURES = f"{CACHE}/figures"
"""Figures of reports, each under a hash of what it shows."""
CODE_PARTS = f"{RESULTS}/.versions"
"""For each code version that made a result: the hashes of its modules and data files, and the locked versions."""
CONTROLLER_LOCK = f"{RESULTS}/snakemake"
"""Base of the lock of the one Snakemake process that may work in a folder."""
FAILED = f"{RESULTS}/.failed"
"""Target that makes Snakemake run an empty job, so that a run with nothing to do still lists failed results."""
REFERENCE = f"{RESULTS}/reference/miniature"
"""The published table and overview figures of the miniature's study."""

BASE_MODEL = "model={model}/base_seed={base_seed}"
CHECKPOINT = f"{BASE_MODEL}/data={{data}}/recipe={{recipe}}/beta={{beta}}/seed={{seed}}"
"""The part of a path that names a checkpoint, without its learning rate."""

MINIATURE = f"{RESOURCES}/miniature"
MINIATURE_MODEL = f"{MINIATURE}/models/{{architecture}}/base_seed={{base_seed}}/gate.json"
MINIATURE_DATA = f"{MINIATURE}/data.json"
MINIATURE_INSTRUCTIONS = f"{MINIATURE}/data/{{data}}"
MINIATURE_BENCHMARK = f"{MINIATURE}/benchmarks/{{benchmark}}"
MINIATURE_TRUTH = f"{MINIATURE}/truth/{{benchmark}}"

WORLD = f"{RESOURCES}/world"
WORLD_MANIFEST = f"{WORLD}/world.json"
WORLD_QUESTIONS = f"{WORLD}/{{variant}}"

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
GENERATIONS = (
    f"{RESULTS}/generations/{CHECKPOINT}/benchmark={{benchmark}}/language={{language}}/generations.parquet"
)
CLUSTERS = (
    f"{RESULTS}/clusters/{CHECKPOINT}/benchmark={{benchmark}}/entailment={{entailment}}"
    "/language={language}/clusters.parquet"
)
NEXT_TOKEN = f"{RESULTS}/next_token/{CHECKPOINT}/heldout={{heldout}}/tokens.parquet"

RECORDS = tuple(
    "/".join([*template.split("/")[:2], "**", template.split("/")[-1]])
    for template in (SCORES, EMBEDDINGS, NEXT_TOKEN, GENERATIONS, CLUSTERS, FINETUNED, SELECTED)
)
"""Glob patterns of the results that several studies share."""
CHECKPOINT_FOLDERS = f"{RESULTS}/checkpoints/**/lr=*"
"""Glob pattern of the folders with the manifest, weights and training state of a checkpoint."""

STUDY = f"{RESULTS}/studies/{{study}}"
PARTIAL_SUFFIX = "-partial"
"""End of the name of the folder with the interim report of an unfinished study."""
PARTIAL_STUDY = f"{STUDY}{PARTIAL_SUFFIX}"
