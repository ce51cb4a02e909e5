"""Fills the cache from which roc-validator answers offline: `python seed_contexts.py CACHE`.

Run by the validator's own environment. The one context a crate of this study refers to is that of
RO-Crate 1.1, which rocrate ships up to its version 0.13.
"""

import io
import json
import sys
from importlib.resources import files
from pathlib import Path

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from urllib3 import HTTPResponse

CONTEXT = "https://w3id.org/ro/crate/1.1/context"


class Bundled(HTTPAdapter):
    """Answers every request with the bundled context."""

    def send(self, request: PreparedRequest, *_: object, **__: object) -> Response:
        body = files("rocrate").joinpath("data/ro-crate.jsonld").read_bytes()
        assert json.loads(body)["@id"] == CONTEXT, "another rocrate: it ships another context"
        raw = HTTPResponse(
            body=io.BytesIO(body),
            headers={"Content-Type": "application/ld+json"},
            status=200,
            preload_content=False,
        )
        return self.build_response(request, raw)


def main(cache: Path) -> None:
    session = CachedSession(cache_name=str(cache), backend="sqlite", expire_after=-1)
    session.mount("https://", Bundled())
    session.get(CONTEXT).raise_for_status()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
