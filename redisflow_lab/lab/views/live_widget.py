"""The live view's part in the browser, as a widget. Needs anywidget."""

from typing import Any

import anywidget
import traitlets

from redisflow_lab.lab.views.browser import HATCH, read, styles
from redisflow_lab.lab.views.layout import WIDTH


class LiveWidget(anywidget.AnyWidget):
    """Draws `frame`, and sends {"press": id} when a button is pressed.

    frame:   shapes by name, as picture.js reads them
    height:  of the picture, in px
    caption: what happened last
    words:   the picture in words
    buttons: each with its id, row and text, the call that it makes, and whether it applies
    told:    the calls so far, each with its result
    """

    _esm = read("picture.js").replace("export class", "class") + read("live.js").replace(
        'import { Picture } from "./picture.js";\n', ""
    )
    _css = read("live.css") + styles(".redisflow-live svg")
    _hatch = traitlets.Unicode(f"<defs>{HATCH}</defs>").tag(sync=True)
    frame = traitlets.Dict().tag(sync=True)
    width = traitlets.Float(float(WIDTH)).tag(sync=True)
    height = traitlets.Float(300.0).tag(sync=True)
    caption = traitlets.Unicode("").tag(sync=True)
    words = traitlets.Unicode("").tag(sync=True)
    buttons: Any = traitlets.List().tag(sync=True)
    told: Any = traitlets.List().tag(sync=True)
