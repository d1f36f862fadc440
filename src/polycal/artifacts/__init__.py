"""The files that stages exchange: records, tables, checkpoints and manifests."""
