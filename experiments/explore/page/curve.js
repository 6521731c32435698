// The curve of KL by update, on a logarithmic scale, as SVG that follows the page's colours.
const NAMESPACE = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [600, 170, 52, 10, 10, 26];
const LEAST = 1e-5;

function svg(tag, attributes, text) {
  const made = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export function drawCurve(place, tracks, position, tolerance) {
  const found = tracks.flat().map((frame) => frame.kl).filter((kl) => kl !== null);
  const width = Math.max(260, place.clientWidth || WIDTH);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const logs = [...found, ...(tolerance > 0 ? [tolerance] : [])].map((kl) => Math.log10(Math.max(kl, LEAST)));
  const low = Math.floor(Math.min(-2, ...logs)), high = Math.ceil(Math.max(1, ...logs) - 1e-9);
  const last = Math.max(10, ...tracks.map((track) => track.at(-1)?.step ?? 0));
  const x = (step) => LEFT + ((width - LEFT - RIGHT) * step) / last;
  const y = (log) => TOP + ((HEIGHT - TOP - BOTTOM) * (high - log)) / (high - low);
  const add = (...args) => picture.append(svg(...args));
  for (let log = low; log <= high; log += 1) {
    add("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: y(log), y2: y(log) });
    add("text", { x: LEFT - 8, y: y(log) + 4, "text-anchor": "end" }, String(Number((10 ** log).toPrecision(1))));
  }
  for (const step of [0, Math.round(last / 2), last]) {
    add("text", { x: x(step), y: HEIGHT - 8, "text-anchor": step === last ? "end" : "middle" }, String(step));
  }
  if (tolerance > 0) {
    const at = y(Math.log10(Math.max(tolerance, LEAST)));
    add("line", { class: "until", x1: LEFT, x2: width - RIGHT, y1: at, y2: at });
  }
  tracks.forEach((track, number) => {
    const points = track.filter((frame) => frame.kl !== null).map((frame) => `${x(frame.step).toFixed(1)},${y(Math.log10(Math.max(frame.kl, LEAST))).toFixed(1)}`);
    if (points.length) add("polyline", { class: `line of-${number}`, points: points.join(" ") });
  });
  if (found.length) add("line", { class: "now", x1: x(position), x2: x(position), y1: TOP, y2: HEIGHT - BOTTOM });
  place.replaceChildren(picture);
  const ends = tracks.filter((track) => track.length).map((track) => `from ${track[0].kl ?? "not finite"} to ${track.at(-1).kl ?? "not finite"} nats in ${track.at(-1).step} updates`);
  place.setAttribute("aria-label", ends.length ? `KL falls ${ends.join("; the second rule: ")}` : "No update yet");
}
