"""The networks: architectures, initial weights, files of weights, and means at initialisation."""
