"""Snakemake executor plugin that sends jobs to Slurm, or to this machine, through submitit.

Snakemake finds the package by its name and takes `Executor`, `ExecutorSettings` and
`common_settings` from it. `docs/further.md` is its manual.
"""

from snakemake_interface_executor_plugins.settings import CommonSettings

from snakemake_executor_plugin_submitit.executor import Executor
from snakemake_executor_plugin_submitit.settings import ExecutorSettings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    # Slurm hands the controller's environment to the job. On a command line everybody on the
    # node could read it.
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
    pass_group_args=True,
)
