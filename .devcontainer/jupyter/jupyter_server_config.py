"""JupyterLab in a dev container: the browser is elsewhere.

In Codespaces it also has another address for the server than the server itself, and so the
server would refuse its requests. It accepts those from this codespace, and from no other.
"""

import os
import re

c = get_config()  # noqa: F821
c.ServerApp.use_redirect_file = False  # a file that the browser could not read

codespace = os.environ.get("CODESPACE_NAME")
if codespace:
    domain = os.environ.get("GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN", "app.github.dev")
    c.ServerApp.allow_origin_pat = rf"https://{re.escape(codespace)}-\d+\.{re.escape(domain)}$"
