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
    # One core for each process on a node.
    threads: lambda w: base(w).training_ranks
    resources:
        # These are resources, not parameters, so that a change causes no rerun: they change results by rounding only.
        nodes=lambda w: base(w).training_nodes,
        ranks=lambda w: base(w).training_ranks,
        gpu=lambda w: base(w).training_gpus * base(w).training_nodes,
        # One task per node. With GPUs the executor would take this for tasks per GPU; Slurm's default is one per node.
        tasks=lambda w: None if base(w).training_gpus else base(w).training_nodes,
        # If mpi is set, even to "", the Slurm executor does not start the job in a step of its own. Such a step would
        # occupy the cores that the step over all nodes needs.
        mpi=lambda w: "" if base(w).training_nodes > 1 else None,
        zero_stage=lambda w: base(w).zero_stage,
        mem_mb=lambda w: base(w).training_memory_mb,
        runtime=lambda w: base(w).training_minutes,
    params:
        cell=lambda w: identities.finetune(STUDY_CONFIG, **w),
        code=version("finetune"),
    shell:
        # Slurm sends its signal to this shell too. If the shell ended, the job would end, and Slurm would kill the
        # training while it saves its state. TQDM_DISABLE: progress bars make a log unreadable.
        "trap : TERM USR1; HF_HUB_OFFLINE=1 TQDM_DISABLE=1 polycal finetune"
        " --cell {params.cell:q}"
        " --code {params.code}"
        " --model {input.model:q}"
        " --instructions {input.instructions:q}"
        " --ranks {resources.ranks}"
        " --nodes {resources.nodes}"
        " --zero-stage {resources.zero_stage}"
        " --threads {threads}"
        f" --cache-dir {paths.CACHE}"
        " --out {output:q}"
        " > {log:q} 2>&1"


rule select_lr:
    input:
        manifests=lambda w: grid.candidates(STUDY_CONFIG, **w),
    output:
        paths.SELECTED,
    log:
        f"logs/select_lr/{paths.CHECKPOINT}.log",
    params:
        cell=lambda w: identities.select_lr(STUDY_CONFIG, **w),
        code=version("select_lr"),
        manifests=lambda w, input: [f"--manifests={f}" for f in input.manifests],
    shell:
        "polycal select-lr {params.manifests:q}"
        " --cell {params.cell:q}"
        " --code {params.code}"
        f" --cache-dir {paths.CACHE}"
        " --out {output:q}"
        " > {log:q} 2>&1"
