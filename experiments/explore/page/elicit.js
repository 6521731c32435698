// The tab "Elicit": an image, a target, and the updates from the one to the other.
import { clearProblem, element, find, getJson, guarded, option, postJson, request, say, shown, showProblem, stream } from "./page.js";
import { PRESETS, Target } from "./target.js";
import { drawCurve } from "./curve.js";
import { drawDifference, drawImage, makeFigure, meanChange, pixelsOf } from "./pixels.js";

const RULES = ["polyak-lbfgs", "polyak", "sgd", "momentum", "adam", "lion", "lbfgs"];
const USUAL_OPTIONS = { adam: "learning_rate=0.1", lion: "learning_rate=0.1" };
const MIDDLE_UPDATES = 10;

let about, target, start, startPixels;
let frames = [[]]; // of each rule, by update
let position = 0; // the update that is shown
let wish = null; // what the frames were asked for by
let run = { name: null, stop: null };
let figures = [];
let picked = Promise.resolve(); // settles when the image that was chosen last is there

export async function startElicit(state) {
  about = state;
  fillOptions();
  find("index").max = state.images - 1;
  target = new Target(state.class_names, () => scheduleDraw());
  find("run").addEventListener("click", guarded(() => begin()));
  find("stop").addEventListener("click", () => run.stop?.abort());
  find("go-on").addEventListener("click", guarded(() => goOn()));
  find("index").addEventListener("change", guarded(() => waitFor(pick(find("index").value))));
  find("random").addEventListener("click", guarded(() => waitFor(pick(Math.floor(Math.random() * about.images)))));
  find("file").addEventListener("change", guarded(() => waitFor(upload())));
  find("take-typed").addEventListener("click", guarded(() => target.type(find("typed").value)));
  find("typed").addEventListener("keydown", (event) => { if (event.key === "Enter") find("take-typed").click(); });
  find("scrub").addEventListener("input", () => { position = Number(find("scrub").value); scheduleDraw(); });
  find("gain").addEventListener("input", scheduleDraw);
  find("save").addEventListener("click", guarded(save));
  find("copy-command").addEventListener("click", guarded(() => copy("command")));
  find("copy-python").addEventListener("click", guarded(() => copy("python")));
  for (const button of document.querySelectorAll("[data-preset]")) {
    button.addEventListener("click", guarded(() => target.set(PRESETS[button.dataset.preset](start.output, target.values))));
  }
  await pick(0);
  target.set(PRESETS.swap(start.output));
}

function fillOptions() {
  find("rule-0").replaceChildren(...RULES.map((name) => option(name)));
  find("rule-1").replaceChildren(option("", "none"), ...RULES.map((name) => option(name)));
  find("map").replaceChildren(...about.pixel_maps.map((name) => option(name)));
  find("tolerance").value = about.defaults.tolerance;
  for (const number of [0, 1]) {
    find(`rule-${number}`).addEventListener("change", () => {
      find(`options-${number}`).value = USUAL_OPTIONS[find(`rule-${number}`).value] ?? "";
      showSecond();
    });
  }
  find("filter").addEventListener("change", showStrength);
  showStrength();
  showSecond();
}

function showSecond() {
  const isShown = Boolean(find("rule-1").value);
  for (const each of document.querySelectorAll(".grid .second")) each.hidden = !isShown;
}

function showStrength() {
  const kind = find("filter").value;
  for (const each of document.querySelectorAll(".strength")) each.hidden = kind === "none";
  find("strength-label").textContent = kind === "gaussian" ? "σ, pixels" : "Radius, cycles";
  find("strength").value = kind === "gaussian" ? about.defaults.sigma : about.defaults.radius;
}

// The image to start from

async function pick(index) {
  const found = await getJson(`api/image?index=${encodeURIComponent(index)}`);
  find("index").value = index;
  await take({ ...found, image_at: { image: Number(index) } });
}

// Who types a number and presses Run at once means the image of that number.
function waitFor(action) {
  picked = action.catch(() => {});
  return action;
}

async function upload() {
  const [file] = find("file").files;
  find("file").value = "";
  if (!file) return;
  const answer = await request(`api/upload?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
  const found = await answer.json();
  await take({ ...found, image_at: { upload: found.upload } });
}

async function take(found) {
  run.stop?.abort();
  start = found;
  startPixels = await pixelsOf(found.image);
  [frames, position, wish, run] = [[[]], 0, null, { name: null, stop: null }];
  const best = found.output.indexOf(Math.max(...found.output));
  const predicted = `the classifier says ${about.class_names[best]} (${shown(found.output[best], 3)})`;
  const what = found.label === null ? found.file_name : `Image ${found.image_at.image}: its class is ${about.class_names[found.label]}`;
  find("image-words").textContent = `${what}; ${predicted}.`;
  makeFigures(1);
  showButtons();
  scheduleDraw();
}

// Running

function readRules() {
  const tolerance = find("tolerance").value.trim();
  const common = {
    pixel_map: find("map").value, filter: find("filter").value,
    steps: wholeNumber("updates", "updates"), tolerance: tolerance === "" ? null : Number(tolerance),
  };
  if (common.filter === "low-pass") common.radius = Number(find("strength").value);
  if (common.filter === "gaussian") common.sigma = Number(find("strength").value);
  const rules = [0, 1].filter((number) => find(`rule-${number}`).value).map((number) => ({
    rule: find(`rule-${number}`).value,
    rule_options: find(`options-${number}`).value.split(/\s+/).filter(Boolean), ...common,
  }));
  return rules;
}

function wholeNumber(id, name) {
  const value = Number(find(id).value);
  if (!Number.isInteger(value) || find(id).value === "") throw new Error(`${name} must be a whole number, got ${find(id).value || "nothing"}`);
  return value;
}

async function begin() {
  await picked;
  run.stop?.abort();
  wish = { ...start.image_at, target: target.values, rules: readRules() };
  frames = wish.rules.map(() => []);
  position = 0;
  makeFigures(wish.rules.length);
  find("pictures").scrollIntoView({ block: "nearest" });
  await follow("api/run", wish);
}

async function goOn() {
  const updates = Math.max(1, wholeNumber("updates", "updates") || MIDDLE_UPDATES);
  const left = updates - lastStep();
  await follow("api/go-on", { run: run.name, after: lastStep(), updates: left > 0 ? left : updates });
}

async function follow(path, content) {
  const stop = new AbortController();
  const own = { name: run.name, stop };
  run = own;
  showButtons();
  say("Running");
  find("ended").textContent = "";
  find("step").textContent = frames[0].length ? find("step").textContent : "compiling";
  let words = "Stopped";
  try {
    await stream(path, content, stop.signal, (kind, data) => {
      if (run !== own) return;
      if (kind === "start") own.name = data.run;
      if (kind === "frame") addFrame(data);
      if (kind === "error") { words = "Failed"; showProblem(new Error(data.error)); }
      if (kind === "end") words = data.is_reached ? "The target is reached" : "All updates are made";
    });
  } finally {
    if (run === own) {
      own.stop = null;
      showButtons();
      scheduleDraw();
      find("ended").textContent = words;
      say(`${words}. ${summary()}`);
    }
  }
}

function addFrame(frame) {
  const track = frames[frame.rule];
  if (track.length && track.at(-1).step >= frame.step) return;
  track.push(frame);
  position = lastStep();
  scheduleDraw();
}

const lastStep = () => Math.max(0, ...frames.map((track) => track.at(-1)?.step ?? 0));

// The frame of a rule at the update that is shown; its last one if it has stopped before.
function frameOf(number) {
  const track = frames[number] ?? [];
  return track[Math.min(position, track.length - 1)];
}

function summary() {
  return frames.map((track, number) => {
    const last = track.at(-1);
    return last ? `${wish.rules[number].rule}: update ${last.step}, KL ${shown(last.kl)} nats` : "";
  }).join("; ");
}

function showButtons() {
  const isRunning = run.stop !== null, hasFrames = frames.some((track) => track.length);
  find("stop").disabled = !isRunning;
  find("go-on").disabled = isRunning || run.name === null || !hasFrames;
  find("scrub").disabled = !hasFrames;
  for (const id of ["save", "copy-command", "copy-python"]) find(id).disabled = !hasFrames;
  find("copy-command").title = start?.file_name ? "an uploaded picture is in no data set; copy the Python" : "";
  if (start?.file_name) find("copy-command").disabled = true;
  for (const each of document.querySelectorAll(".row .second")) each.hidden = frames.length < 2;
}

// Drawing

function makeFigures(count) {
  figures = [makeFigure("Start")];
  for (let number = 0; number < count; number += 1) {
    const name = count > 1 ? (wish.rules[number].rule) : "Made";
    figures.push(makeFigure(name), makeFigure("Difference"));
  }
  find("pictures").replaceChildren(...figures.map((figure) => figure.all));
  find("pictures").dataset.count = figures.length;
}

let isDrawing = false, isDue = false;

function scheduleDraw() {
  isDue = true;
  if (!isDrawing) requestAnimationFrame(draw);
}

async function draw() {
  if (isDrawing || !startPixels) return;
  isDrawing = true;
  isDue = false;
  try {
    await drawFrame();
  } finally {
    isDrawing = false;
    if (isDue) requestAnimationFrame(draw);
  }
}

async function drawFrame() {
  const drawn = figures, now = frames.map((_, number) => frameOf(number));
  drawImage(drawn[0], startPixels);
  const rows = [];
  for (const [number, frame] of now.entries()) {
    const pixels = frame ? await pixelsOf(frame.image) : startPixels;
    drawImage(drawn[1 + 2 * number], pixels);
    drawDifference(drawn[2 + 2 * number], pixels, startPixels, Number(find("gain").value) || 1);
    if (frame) rows.push(numbersRow(number, frame, meanChange(pixels, startPixels)));
  }
  if (drawn !== figures) return;
  find("scrub").max = lastStep();
  find("scrub").value = position;
  if (now[0]) find("step").textContent = `${position} of ${lastStep()}`;
  else if (!run.stop) find("step").textContent = "0";
  target.drawReached(now.map((frame) => frame?.output ?? start.output));
  find("numbers").replaceChildren(...rows);
  drawCurve(find("curve"), frames, position, wish?.rules[0].tolerance ?? null);
}

function numbersRow(number, frame, change) {
  const key = element("span", { className: `key of-${number}` });
  const cells = [frame.step, shown(frame.kl), shown(frame.max_error), shown(change, 2)];
  return element("tr", {}, [
    element("th", { scope: "row" }, [key, wish.rules[number].rule]),
    ...cells.map((text) => element("td", { className: "number", text: String(text) })),
  ]);
}

// Keeping

function chosen() {
  const number = frames.length > 1 ? Number(find("which").value) : 0;
  return { number, frame: frameOf(number) };
}

function save() {
  const { frame } = chosen();
  const link = element("a", { href: `data:image/png;base64,${frame.image}`, download: `elicit-${frame.step}.png` });
  link.click();
}

async function copy(kind) {
  const { number, frame } = chosen();
  const rules = [{ ...wish.rules[number], steps: frame.step }];
  const found = await postJson("api/code", { ...wish, rules });
  find("code").textContent = found[kind];
  find("code-details").hidden = false;
  find("code-details").open = true;
  clearProblem();
  try {
    await navigator.clipboard.writeText(found[kind]);
    say("Copied");
  } catch {
    say("The code is shown below; copy it from there");
  }
}
