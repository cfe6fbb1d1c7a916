"""How much of a model fits where, before anything is served: by its config and headers, without its weights."""
