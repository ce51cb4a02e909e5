"""The paper's equations in float64: the limit of the KD gradient, and the exact identities."""
