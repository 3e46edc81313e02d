"""Keep compiled programs between runs of the command line."""

import os
import warnings
from pathlib import Path

import jax


def keep_compiled_programs() -> None:
    """Keep them in the user's cache folder, or where JAX_COMPILATION_CACHE_DIR says; where neither works, nowhere.

    JAX finds a program by its code, its options and the machine, so a stale program is never used. A program that a
    killed process has written in part, or for which the disk has no room, is compiled again, without JAX's warning.
    """
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return  # the user has chosen, by that variable or otherwise
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME", ""))
        folder = (home if home.is_absolute() else Path.home() / ".cache") / "structmfg" / "programs"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home, or one that cannot be written to
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
