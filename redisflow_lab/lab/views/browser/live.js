// The live view in a notebook: draws what the kernel sends, and sends back which button was pressed.
import { Picture } from "./picture.js";

function render({ model, el }) {
  const root = el.appendChild(document.createElement("div"));
  root.className = "redisflow-live";
  const caption = root.appendChild(document.createElement("p"));
  caption.setAttribute("aria-live", "polite");
  const svg = root.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
  svg.setAttribute("role", "img");
  svg.innerHTML = model.get("_hatch");
  const rows = [0, 1].map(() => {
    const row = root.appendChild(document.createElement("div"));
    row.className = "row";
    return row;
  });
  const told = root.appendChild(document.createElement("pre"));
  told.setAttribute("aria-label", "What the buttons have called");
  told.tabIndex = 0;

  const picture = new Picture(svg);
  const buttons = new Map();

  function draw() {
    const frame = model.get("frame");
    for (const name of [...picture.elements.keys()]) if (!(name in frame)) picture.drop(name);
    for (const [name, shape] of Object.entries(frame)) picture.set(name, shape);
  }
  function size() {
    svg.setAttribute("viewBox", `0 0 ${model.get("width")} ${model.get("height")}`);
  }
  function say() {
    caption.textContent = model.get("caption");
    svg.setAttribute("aria-label", model.get("words"));
  }
  function offer() {
    // No button is ever removed or moved, so that none comes under a pointer that waits.
    for (const { id, row, text, call, applies } of model.get("buttons")) {
      let button = buttons.get(id);
      if (!button) {
        button = rows[row].appendChild(document.createElement("button"));
        button.type = "button";
        button.textContent = text;
        button.title = call;
        button.addEventListener("click", () => model.send({ press: id }));
        buttons.set(id, button);
      }
      button.setAttribute("aria-disabled", !applies); // `disabled` would take the focus away
    }
  }
  function tell() {
    const lines = model.get("told");
    told.hidden = lines.length === 0;
    told.textContent = lines.join("\n");
    told.scrollTop = told.scrollHeight;
  }

  const parts = { frame: draw, height: size, caption: say, words: say, buttons: offer, told: tell };
  for (const [name, update] of Object.entries(parts)) {
    update();
    model.on(`change:${name}`, update);
  }
  return () => {
    for (const [name, update] of Object.entries(parts)) model.off(`change:${name}`, update);
  };
}

export default { render };
