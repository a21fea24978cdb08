"""Tests that start clusters run when they are asked for by their mark, and else not."""


def pytest_collection_modifyitems(config, items):
    if "cluster" in config.option.markexpr:
        return
    clusters = [item for item in items if item.get_closest_marker("cluster")]
    if clusters:
        config.hook.pytest_deselected(items=clusters)
        items[:] = [item for item in items if item not in clusters]
