"""Which version of mechxl this is."""

from importlib.metadata import PackageNotFoundError, version


def own_version() -> str:
    """The version that is installed; "not installed" where the code runs from a checkout without being installed."""
    try:
        return version("mechxl")
    except PackageNotFoundError:
        return "not installed"
