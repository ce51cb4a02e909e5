"""The paper's equations in float64: the gradient's limit, and the identities."""
