"""Where compiled programs are kept between runs of the command line."""

import jax
import pytest

from structmfg._flags import keep_compiled_programs

NAME = "jax_compilation_cache_dir"
SECONDS = "jax_persistent_cache_min_compile_time_secs"


@pytest.fixture(autouse=True)
def nothing_chosen():
    """Both settings come back afterwards, so that the tests that follow still share what they compile."""
    before = {name: getattr(jax.config, name) for name in (NAME, SECONDS)}
    jax.config.update(NAME, None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_kept_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep_compiled_programs()
    assert getattr(jax.config, NAME) == str(tmp_path / "structmfg" / "programs")
    assert (tmp_path / "structmfg" / "programs").is_dir()


def test_a_choice_is_respected(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update(NAME, "elsewhere")
    keep_compiled_programs()
    assert getattr(jax.config, NAME) == "elsewhere"
    assert not list(tmp_path.iterdir())


def test_no_place_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    keep_compiled_programs()
    assert getattr(jax.config, NAME) is None
