"""The small files of a simulated run: configuration, housekeeping, markers.

They have the keys of real ones. Addresses are of the documentation range, 192.0.2.0/24, but the
modules', which tell their numbers: module = address / 4 mod 256.
"""

from __future__ import annotations

import json
from datetime import timedelta, timezone
from typing import Any

from panoseti_zarr.io.simulate.plan import RunPlan
from panoseti_zarr.model import N_QUABOS

SIMULATED_AUTHOR = "panoseti-zarr simulate"
"""``author`` in the ``sw_info.json`` of a simulated run."""

_LOCAL_TIME = timezone(timedelta(hours=-7))


def config_files(plan: RunPlan) -> dict[str, str]:
    """Return the JSON files of a run: name to text. ``sw_info.json`` is the first."""
    contents = {
        "sw_info.json": {
            "commit": f"{plan.seed:040x}",
            "author": SIMULATED_AUTHOR,
            "branch": "master",
            "commit_date": plan.start.strftime("%Y-%m-%d %H:%M:%S"),
        },
        "obs_config.json": _observatory(plan),
        "daq_config.json": _daq(plan),
        "data_config.json": _data(plan),
        "quabo_uids.json": {"domes": [{"modules": [_uids(module) for module in plan.modules]}]},
    }
    return {name: json.dumps(content, indent=4) for name, content in contents.items()}


def housekeeping(plan: RunPlan, after_start_s: int) -> str:
    """Return what ``hk.pff`` gets some seconds after the start of the run.

    A JSON object a line, a blank line after each.
    """
    time_s = plan.start_s + after_start_s
    records: list[dict[str, Any]] = [
        {"WPS": {"Computer_UTC": f"{time_s}.080837", "POWER": "ON"}},
        {"GPSPRIM": {"Computer_UTC": f"{time_s}.331889", "TIMEFLAG": "GPS", "UTCOFFSET": "18"}},
    ]
    for module in plan.modules:
        for quabo in range(N_QUABOS):
            board = N_QUABOS * module + quabo
            values = {
                "Computer_UTC": f"{time_s}.{500_000 + board}",
                "BOARDLOC": str(board),
                "HVMON0": "-55.67592",
                "RAWHVMON": "72.57048",
                "TEMP1": "40.25",
                "TEMP2": "64.10007689941563",
                "UID": f"0x{board:016x}",
                "FWVER": "0209",
            }
            records.append({f"QUABO_{board}": values})
    return "".join(f"{json.dumps(record)}\n\n" for record in records)


def marker_text(plan: RunPlan, after_start_s: int) -> str:
    """Return what a marker holds: local time, ISO, some seconds after the start of the run."""
    time = plan.start.astimezone(_LOCAL_TIME) + timedelta(seconds=after_start_s)
    return time.strftime("%Y-%m-%dT%H:%M:%S")


def _observatory(plan: RunPlan) -> dict[str, Any]:
    modules = [
        {
            "mobo_serialno": f"M{module}",
            "quabo_version": "qfp",
            "ip_addr": _address(module),
            "wps": "wps",
            "azimuth": 77,
            "elevation": 77,
            "position_angle": 77,
        }
        for module in plan.modules
    ]
    dome = {"obslat": 37.3, "obslon": -121.6, "obsalt": 1283, "name": "dome", "modules": modules}
    return {
        "name": plan.observatory,
        "comment": "simulated",
        "wps": {"url": "http://admin:secret@192.0.2.10/", "quabo_socket": 6},
        "wr_ip_addr": "192.0.2.36",
        "gps_port": "/dev/ttyUSB5",
        "domes": [dome],
    }


def _daq(plan: RunPlan) -> dict[str, Any]:
    node = {
        "username": "panosetigraph",
        "data_dir": "/data/panoseti_data",
        "ip_addr": "192.0.2.100",
        "module_ids": ",".join(str(module) for module in plan.modules),
        "bindhost": "enp3s0",
    }
    return {
        "head_node_data_dir": "/data/panoseti_data",
        "head_node_ip_addr": "192.0.2.100",
        "daq_nodes": [node],
    }


def _data(plan: RunPlan) -> dict[str, Any]:
    content: dict[str, Any] = {"run_type": plan.runtype, "gain": 60}
    for stream in plan.streams:
        layout = stream.layout
        if layout.is_pulse_height:
            content["pulse_height"] = {"pe_threshold": 10, "two_pixel_trigger": 0}
            if layout.name == "ph1024":
                content["pulse_height"]["group_ph_frames"] = 1
        else:
            content["image"] = {
                "integration_time_usec": round(1e6 / stream.rate_hz),
                "quabo_sample_size": 8 * layout.dtype.itemsize,
            }
    size = plan.max_file_size_mb
    content["max_file_size_mb"] = int(size) if float(size).is_integer() else size
    return content


def _uids(module: int) -> dict[str, Any]:
    quabos = [{"uid": f"6b21{N_QUABOS * module + quabo:011x}"} for quabo in range(N_QUABOS)]
    return {"ip_addr": _address(module), "quabos": quabos}


def _address(module: int) -> str:
    return f"192.168.{module * N_QUABOS // 256}.{module * N_QUABOS % 256}"
