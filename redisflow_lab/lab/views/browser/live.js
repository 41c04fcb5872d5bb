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
  const toolbar = root.appendChild(document.createElement("div"));
  toolbar.className = "toolbar";
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
    const offered = new Map(model.get("buttons").map(({ id, text, call }) => [id, { text, call }]));
    for (const [id, button] of buttons) {
      if (!offered.has(id)) {
        button.remove();
        buttons.delete(id);
      }
    }
    for (const [id, { text, call }] of offered) {
      let button = buttons.get(id);
      if (!button) {
        button = toolbar.appendChild(document.createElement("button"));
        button.type = "button";
        button.addEventListener("click", () => model.send({ press: id }));
        buttons.set(id, button);
      }
      button.textContent = text;
      button.title = call;
    }
  }
  function tell() {
    told.textContent = model.get("told").join("\n");
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
