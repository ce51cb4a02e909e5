"""The theory of the study, measured on random logits and on those of its trained networks."""

from pathlib import Path

import pandas as pd
from torch import Tensor

from kdlm.config import Study
from kdlm.identities import identities, random_cases
from kdlm.layout import student_directory, teacher_directory, teacher_of
from kdlm.outputs import read_logits
from kdlm.theory import gradient_limit
