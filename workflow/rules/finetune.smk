localrules:
    select_lr,


rule finetune:
    input:
        model=paths.MODEL,
        instructions=paths.INSTRUCTIONS,
    output:
        paths.FINETUNED,
    log:
        f"logs/finetune/{paths.CHECKPOINT}/lr={{lr}}.log",
    benchmark:
        f"logs/finetune/{paths.CHECKPOINT}/lr={{lr}}.jsonl"
    # a core for each process of a node
    threads: lambda w: base(w).training_ranks
    resources:
        # resources trigger no rerun: neither ranks nor nodes nor ZeRO stage change a result
        nodes=lambda w: base(w).training_nodes,
        ranks=lambda w: base(w).training_ranks,
        gpu=lambda w: base(w).training_gpus * base(w).training_nodes,
        # a task a node; with GPUs the Slurm executor would count tasks a GPU, and Slurm gives each node one itself
        tasks=lambda w: None if base(w).training_gpus else base(w).training_nodes,
        # there, though empty, the Slurm executor starts the job in no step of its own, which would hold the cores
        # that the step of all nodes needs
        mpi=lambda w: "" if base(w).training_nodes > 1 else None,
        zero_stage=lambda w: base(w).zero_stage,
        mem_mb=lambda w: base(w).training_memory_mb,
        runtime=lambda w: base(w).training_minutes,
    params:
        cell=lambda w: identities.finetune(STUDY_CONFIG, **w),
        code=version("finetune"),
    shell:
        # Slurm's signal reaches this shell too; were it to die of it, the job would end and the training be killed
        # in the middle of its save. Bars that redraw themselves make a log unreadable.
        "trap : TERM USR1; HF_HUB_OFFLINE=1 TQDM_DISABLE=1 polycal finetune"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --model {input.model:q}"
        " --instructions {input.instructions:q}"
        " --ranks {resources.ranks}"
        " --nodes {resources.nodes}"
        " --zero-stage {resources.zero_stage}"
        " --threads {threads}"
        " --kept results/.kept"
        " --out {output:q}"
        " > {log:q} 2>&1"


rule select_lr:
    input:
        lambda w: grid.candidates(STUDY_CONFIG, **w),
    output:
        paths.SELECTED,
    log:
        f"logs/select_lr/{paths.CHECKPOINT}.log",
    params:
        cell=lambda w: identities.select_lr(STUDY_CONFIG, **w),
        code=version("select_lr"),
    shell:
        "polycal select-lr {input:q}"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --kept results/.kept"
        " --out {output:q}"
        " > {log:q} 2>&1"
