"""The coordinators: one stream to its L0 store, one L0 store to its L1 store."""
