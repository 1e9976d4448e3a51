"""The service's interface to others: status document, ledger, requests."""
