"""Is knowledge distillation at infinite temperature the same as logits matching?

The package behind the study's DAG: every rule calls one of its commands (``python -m kdlm``).
The paper is Chen, Wang, Chen, arXiv 2109.06458; equation numbers are the paper's.
"""

__version__ = "0.1.0"
