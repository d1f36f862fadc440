localrules:
    failed,


rule failed:
    output:
        touch(paths.FAILED),
