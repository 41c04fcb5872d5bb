// Plays the steps of a recording: each one changes some shapes of the picture.
import { Picture } from "./picture.js";

const SHORTEST_MS = 800;
const LONGEST_MS = 3000;
const READING_MS = 30; // for each character of a caption

const { steps } = JSON.parse(document.getElementById("recording").textContent);
const find = (id) => document.getElementById(id);
const [svg, scrubber, caption, proof] = ["picture", "scrubber", "caption", "proof"].map(find);
const [play, back, forward, speed, position] = ["play", "back", "forward", "speed", "position"].map(find);

const picture = new Picture(svg);
const shown = new Map(); // shapes by name, at the step `at`
let at = -1;
let timer = null;

function change({ set, drop }, touched) {
  for (const name of drop) shown.delete(name);
  for (const [name, shape] of Object.entries(set)) shown.set(name, shape);
  for (const name of [...drop, ...Object.keys(set)]) touched.add(name);
}

// Steps hold what has changed, so going back needs what was there before.
const before = steps.map((step) => {
  const undo = { set: {}, drop: [] };
  for (const name of Object.keys(step.set)) {
    if (shown.has(name)) undo.set[name] = shown.get(name);
    else undo.drop.push(name);
  }
  for (const name of step.drop) undo.set[name] = shown.get(name);
  change(step, new Set());
  return undo;
});
shown.clear();

function show(number) {
  const wanted = Math.max(0, Math.min(steps.length - 1, number));
  const touched = new Set(); // drawn once, however many steps are passed
  while (at < wanted) change(steps[++at], touched);
  while (at > wanted) change(before[at--], touched);
  for (const name of touched) {
    if (shown.has(name)) picture.set(name, shown.get(name));
    else picture.drop(name);
  }
  const { t, caption: said, proof: lines } = steps[at];
  scrubber.value = at;
  const when = `${t.toFixed(2)} s`;
  position.textContent = `step ${at + 1} of ${steps.length}, at ${when}`;
  scrubber.setAttribute("aria-valuetext", `${position.textContent}: ${said}`);
  caption.textContent = said;
  proof.textContent = lines.join("\n");
  back.disabled = at === 0;
  forward.disabled = at === steps.length - 1;
}

function pause() {
  clearTimeout(timer);
  timer = null;
  play.textContent = "▶ Play";
}

function next() {
  if (at >= steps.length - 1) return pause();
  const lasts = 1000 * (steps[at + 1].t - steps[at].t);
  const reading = READING_MS * steps[at].caption.length;
  const wait = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, reading, lasts)) / Number(speed.value);
  timer = setTimeout(() => {
    show(at + 1);
    next();
  }, wait);
}

function start() {
  if (at >= steps.length - 1) show(0);
  play.textContent = "‖ Pause";
  next();
}

function step(by) {
  pause();
  show(at + by);
}

scrubber.max = steps.length - 1;
scrubber.addEventListener("input", () => {
  pause();
  show(Number(scrubber.value));
});
play.addEventListener("click", () => (timer === null ? start() : pause()));
back.addEventListener("click", () => step(-1));
forward.addEventListener("click", () => step(1));
document.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by || event.target === speed || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  step(by);
});
show(0);
hideStill();

// In a notebook, the output after this page is its still picture, for where no script runs.
function hideStill() {
  const frame = window.frameElement; // null if there is none, or if it is out of reach
  const output = frame?.closest(".jp-OutputArea-child");
  if (!output || frame.dataset.plays) return;
  frame.dataset.plays = "yes";
  const style = frame.ownerDocument.createElement("style");
  const playing = ".jp-OutputArea-child:has(iframe[data-plays])";
  style.textContent = `@media screen { ${playing} + .jp-OutputArea-child:has(img) { display: none; } }`;
  frame.after(style);
}

// It begins by itself when it is first seen, unless the reader wants less motion.
if (!matchMedia("(prefers-reduced-motion: reduce)").matches && steps.length > 1) {
  const watcher = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) return;
    watcher.disconnect();
    if (at === 0 && timer === null) start();
  }, { threshold: 0.6 });
  watcher.observe(svg);
}
