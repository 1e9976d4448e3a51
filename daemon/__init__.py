"""The service: the imperative shell around the pure state machine of `daemon.state`."""
