"""Where the HTML view of an object of ours leads: to its page in the reference."""

from __future__ import annotations

DOCS = "https://skcode.readthedocs.io/en/stable"


class DocLinkMixin:
    """Links the HTML view of an estimator to the page of its class; left of `BaseEstimator`."""

    _doc_link_module = "skcode"

    @property
    def _doc_link_template(self) -> str:
        # the public module ends where private names begin; estimators are imported from the top
        module = type(self).__module__.split("._")[0].removesuffix(".estimators")
        return f"{DOCS}/generated/{module}.{type(self).__name__}.html"
