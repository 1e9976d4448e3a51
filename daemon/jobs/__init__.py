"""Jobs in threads and child processes: ingests, verifications, quick looks, sidecar files."""
