"""What others read of the service, and what they ask of it: status, ledger, requests."""
