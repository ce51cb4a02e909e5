"""Is knowledge distillation at infinite temperature the same as logits matching?

This package does the work of the study's Snakemake workflow: every rule runs one of its commands
(``python -m kdlm COMMAND``). The paper under study is Chen, Wang, Chen, arXiv 2109.06458; equation
numbers everywhere in the package are those of the paper. docs/design.md says where to start
reading.
"""

__version__ = "0.1.0"
