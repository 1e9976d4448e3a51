"""Write L0 stores of given arrays, for tests of what reads them."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import tensorstore

from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.io.l0.metadata import empty_store_documents
from panoseti_zarr.io.zarr3.metadata import encode, resized, root_document
from panoseti_zarr.model import PRODUCTS, array_specs

RUN = "obs_Test.start_2024-07-25T04:34:06Z.runtype_sci-data.pffd"


def write_l0(store: Path, product: str, arrays: dict[str, np.ndarray], **options) -> Path:
    """Write an L0 store.

    Parameters
    ----------
    store : Path
        To be made.
    product : str
    arrays : dict
        ``images`` and what else matters, by path; the others are made up.
    options
        ``closed``, ``commit``, ``store_id``; the rest are settings of ``[pff_to_zarr]``.
    """
    attributes = {
        "format": "panoseti-zarr-l0",
        "format_version": 1,
        "store_id": options.pop("store_id", uuid.uuid4().hex),
        "commit": options.pop("commit", 1),
        "n_frames": len(arrays["images"]),
        "closed": options.pop("closed", True),
        "run": RUN,
        "observatory": "Test",
        "run_start": "2024-07-25T04:34:06Z",
        "runtype": "sci-data",
        "product": product,
        "module": 1,
        "bytes_per_pixel": PRODUCTS[product].dtype.itemsize,
        "source_files": [],
        "gaps": [],
        "run_config": {},
        "writer": {"name": "test"},
    }
    n_frames = attributes["n_frames"]
    documents = {
        path: resized(document, n_frames) if document["node_type"] == "array" else document
        for path, document in empty_store_documents(
            PRODUCTS[product], PffToZarrConfig(**options)
        ).items()
    }
    for path, document in documents.items():
        (store / path).mkdir(parents=True, exist_ok=True)
        (store / path / "zarr.json").write_bytes(encode(document))
    for number, spec in enumerate(array_specs(PRODUCTS[product])):
        values = arrays.get(spec.path)
        if values is None:
            values = (np.arange(n_frames) * 3 + number) % 200
        if n_frames:
            spec_of_array = {
                "driver": "zarr3",
                "kvstore": {"driver": "file", "path": f"{store}/{spec.path}/"},
                "store_data_equal_to_fill_value": True,
            }
            tensorstore.open(spec_of_array).result().write(values.astype(spec.dtype)).result()
    (store / "zarr.json").write_bytes(encode(root_document(attributes, documents)))
    return store
