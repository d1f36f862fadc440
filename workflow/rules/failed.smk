# An empty job of studies with failed results, so that a run in which nothing is to be done names them at its end.
localrules:
    failed,


rule failed:
    output:
        touch(paths.FAILED),
