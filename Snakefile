from snakemake.utils import min_version

min_version("9.27")


configfile: "config/languages.yaml"
configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


onstart:
    refuse_the_papers_grid_on_one_machine()
    refuse_too_little_memory()
    take_controller_lock()


onsuccess:
    stop_timers()
    name_the_report()
    end_with_failed_results()


onerror:
    stop_timers()
    list_missing_results()


wildcard_constraints:
    model=NAME,
    base_seed=NAME,
    data=NAME,
    recipe=NAME,
    beta=NAME,
    seed=NAME,
    benchmark=NAME,
    protocol=NAME,
    lr=NAME,
    architecture=NAME,
    pooling=NAME,
    heldout=NAME,
    language=NAME,


rule all:
    default_target: True
    input:
        [f"{STUDY}/{table}.parquet" for table in TABLES],
        f"{STUDY}/report.html",
        SCORES,
        grid.finetuned(STUDY_CONFIG),
        EMBEDDED,
        NEXT_TOKENS,
        GENERATED,
        known_failed_results,


include: "workflow/rules/miniature.smk"
include: "workflow/rules/world.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/probes.smk"
include: "workflow/rules/generation.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/failed.smk"
