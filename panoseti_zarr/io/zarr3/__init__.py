"""Zarr v3 on disk: documents, codecs, shards."""
