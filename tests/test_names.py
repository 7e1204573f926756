"""What the package shows."""

import importlib.util
import pkgutil
import types

import asgard as ag


def test_dir_shows_public_names_only():
    namespaces = {name for name in dir(ag) if isinstance(getattr(ag, name), types.ModuleType)}
    assert namespaces == {"rules", "statistics", "taylor"}
    assert {"simulate", "series", "vector_field", "Real", "parse", "fit", "Status"} <= set(dir(ag))
    assert not any(name.startswith("_") for name in dir(ag))
    assert ag.__all__ == dir(ag)


def test_no_public_name_is_also_a_module():
    modules = {module.name for module in pkgutil.iter_modules(ag.__path__)}
    assert modules & set(dir(ag)) == {"taylor"}
    assert importlib.util.find_spec("asgard.runs.simulation") is not None
