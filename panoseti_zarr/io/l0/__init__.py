"""Writing an L0 store: tasks that stage chunks, and the writer that commits them."""
