"""Where the HTML view of an object of ours leads: to its page in the reference, if there is one."""

from __future__ import annotations

import os

#: environment variable with the address of the built pages. The project publishes none: who builds
#: the pages knows where they are, ``file:///home/me/html`` for instance.
ADDRESS = "SKCODE_DOCS"


class DocLinkMixin:
    """Links the HTML view of an estimator to the page of its class; left of `BaseEstimator`.

    There is no link while the environment variable `SKCODE_DOCS` is not set.
    """

    _doc_link_module = "skcode"

    @property
    def _doc_link_template(self) -> str:
        address = os.environ.get(ADDRESS, "").rstrip("/")
        if not address:
            return ""
        return f"{address}/generated/{type(self).__module__}.{type(self).__name__}.html"
