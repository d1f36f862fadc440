# With languages_per_job: 1 there is one rule, whose jobs score one language each. Otherwise there is a rule for each
# batch of languages; its jobs load the model once for all of them.
SCORE_COMMAND = (
    # TQDM_DISABLE: progress bars make a log unreadable.
    "HF_HUB_OFFLINE=1 TQDM_DISABLE=1 polycal score"
    " --cells {params.cells:q}"
    " --code {params.code}"
    " --model {input.model:q}"
    " {params.questions:q}"
    " {params.out:q}"
    f" --cache-dir {paths.CACHE}"
    " > {log:q} 2>&1"
)


if STUDY_CONFIG.languages_per_job == 1:

    rule score:
        input:
            model=lambda w: grid.checkpoint(STUDY_CONFIG, **w),
            questions=paths.QUESTIONS,
        output:
            paths.SCORES,
        log:
            f"logs/score/{paths.CHECKPOINT}/protocol={{protocol}}/{{benchmark}}/{{language}}.log",
        benchmark:
            f"logs/score/{paths.CHECKPOINT}/protocol={{protocol}}/{{benchmark}}/{{language}}.jsonl"
        resources:
            gpu=lambda w: base(w).scoring_gpus,
            mem_mb=lambda w: base(w).scoring_memory_mb,
            runtime=lambda w: base(w).scoring_minutes,
        params:
            cells=lambda w: score_cells(w, w.benchmark, [w.language]),
            code=version("score"),
            questions=lambda w, input: [f"--questions={input.questions}"],
            out=lambda w, output: [f"--out={output[0]}"],
        shell:
            SCORE_COMMAND

else:

    for benchmark, number, languages in BATCHES:

        rule:
            name:
                f"score_{benchmark}_{number:02d}"
            input:
                model=lambda w: grid.checkpoint(STUDY_CONFIG, **w),
                questions=expand(
                    paths.QUESTIONS, benchmark=benchmark, language=languages
                ),
            output:
                expand(
                    paths.SCORES,
                    benchmark=benchmark,
                    language=languages,
                    allow_missing=True,
                ),
            log:
                f"logs/score/{paths.CHECKPOINT}/protocol={{protocol}}/{benchmark}_{number:02d}.log",
            benchmark:
                f"logs/score/{paths.CHECKPOINT}/protocol={{protocol}}/{benchmark}_{number:02d}.jsonl"
            resources:
                gpu=lambda w: base(w).scoring_gpus,
                mem_mb=lambda w: base(w).scoring_memory_mb,
                runtime=lambda w: base(w).scoring_minutes,
            params:
                cells=partial(score_cells, benchmark=benchmark, languages=languages),
                code=version("score"),
                questions=lambda w, input: [f"--questions={f}" for f in input.questions],
                out=lambda w, output: [f"--out={f}" for f in output],
            shell:
                SCORE_COMMAND
