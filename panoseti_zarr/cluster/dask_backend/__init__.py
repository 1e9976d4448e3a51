"""Tasks on a Dask cluster, behind the executor's interface."""
