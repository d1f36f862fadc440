localrules:
    select_lr,


rule finetune:
    input:
        model=grid.MODEL,
        instructions=grid.INSTRUCTIONS,
    output:
        grid.TRAINED,
    log:
        f"logs/finetune/{grid.CHECKPOINT}/lr={{lr}}.log",
    benchmark:
        f"logs/finetune/{grid.CHECKPOINT}/lr={{lr}}.jsonl"
    resources:
        # resources trigger no rerun: neither ranks nor ZeRO stage change a result
        gpu=lambda w: STUDY_CONFIG.models[w.model].training_gpus,
        ranks=lambda w: max(STUDY_CONFIG.models[w.model].training_gpus, 1),
        zero_stage=lambda w: STUDY_CONFIG.models[w.model].zero_stage,
        mem_mb=lambda w: STUDY_CONFIG.models[w.model].training_memory_mb,
        runtime=lambda w: STUDY_CONFIG.models[w.model].training_minutes,
    params:
        cell=lambda w: grid.finetune_cell(STUDY_CONFIG, **w),
        code=version("finetune"),
    shell:
        # bars that redraw themselves make a log unreadable
        "HF_HUB_OFFLINE=1 TQDM_DISABLE=1 polycal finetune"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --model {input.model:q}"
        " --instructions {input.instructions:q}"
        " --ranks {resources.ranks}"
        " --zero-stage {resources.zero_stage}"
        " --threads {threads}"
        " --kept results/.kept"
        " --out {output:q}"
        " > {log:q} 2>&1"


rule select_lr:
    input:
        lambda w: grid.candidates(STUDY_CONFIG, **w),
    output:
        grid.SELECTED,
    log:
        f"logs/select_lr/{grid.CHECKPOINT}.log",
    params:
        cell=lambda w: grid.select_cell(STUDY_CONFIG, **w),
        code=version("select_lr"),
    shell:
        "polycal select-lr {input:q}"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --kept results/.kept"
        " --out {output:q}"
        " > {log:q} 2>&1"
