// Draws the shapes of a frame as SVG, and changes only what has changed.
const SVG = "http://www.w3.org/2000/svg";
const LAYERS = ["lines", "boxes", "plates", "marks", "texts"];

export class Picture {
  constructor(svg) {
    this.elements = new Map();
    this.layers = {};
    for (const layer of LAYERS) {
      this.layers[layer] = svg.appendChild(document.createElementNS(SVG, "g"));
    }
  }

  set(name, shape) {
    let element = this.elements.get(name);
    if (!element) {
      element = document.createElementNS(SVG, { r: "rect", t: "text", p: "path" }[shape[0]]);
      element.dataset.name = name;
      this.layers[layerOf(shape)].appendChild(element);
      this.elements.set(name, element);
    }
    const [kind, style, ...rest] = shape;
    element.setAttribute("class", style);
    if (kind === "r") {
      const [x, y, width, height] = rest;
      assign(element, { x, y, width, height });
    } else if (kind === "t") {
      const [x, y, text, anchor] = rest;
      assign(element, { x, y, "text-anchor": anchor });
      element.textContent = text;
    } else {
      assign(element, { d: rest[0] });
    }
  }

  drop(name) {
    this.elements.get(name)?.remove();
    this.elements.delete(name);
  }
}

function assign(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}

function layerOf([kind, style]) {
  if (kind === "t") return "texts";
  if (style === "plate") return "plates";
  if (kind === "r") return "boxes";
  return ["arc", "head", "cross", "cursor", "now"].includes(style) ? "marks" : "lines";
}
