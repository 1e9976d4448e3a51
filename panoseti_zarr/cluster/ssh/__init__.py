"""A Dask cluster on several hosts, started over SSH.

`executor` and what it imports run here; `remote` runs on the hosts.
"""
