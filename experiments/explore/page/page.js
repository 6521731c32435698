// What all parts of the page share: elements, requests, and one line for what goes wrong.

export const find = (id) => document.getElementById(id);

export function element(tag, { text, className, ...attributes } = {}, children = []) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function picture(base64, alt, attributes = {}) {
  return element("img", { src: `data:image/png;base64,${base64}`, alt, className: "picture", ...attributes });
}

export function option(value, text = value) {
  return element("option", { value, text });
}

// Messages

export function showProblem(error) {
  const line = find("problem");
  line.textContent = error.message || String(error);
  line.hidden = false;
}

export function clearProblem() {
  find("problem").hidden = true;
}

export function say(words) {
  find("spoken").textContent = words;
}

// Says in an element that something is being done, until it is done or has failed.
export async function whileSaying(place, words, action) {
  place.textContent = words;
  try {
    return await action();
  } finally {
    place.textContent = "";
  }
}

export function guarded(action) {
  return async (...args) => {
    clearProblem();
    try {
      return await action(...args);
    } catch (error) {
      if (error.name !== "AbortError") showProblem(error);
      return undefined;
    }
  };
}

// Requests

const LOST = "the server does not answer; is elicit explore still running?";

export async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(LOST);
  }
  if (!answer.ok) {
    const found = await answer.json().catch(() => ({}));
    throw new Error(found.error || `the server answered with status ${answer.status}`);
  }
  return answer;
}

export async function getJson(path) {
  return (await request(path)).json();
}

const asJson = (content, more = {}) => ({
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content), ...more,
});

export async function postJson(path, content) {
  return (await request(path, asJson(content))).json();
}

// Server-sent events of a POST, which EventSource cannot make. Each event is handed over as it comes.
export async function stream(path, content, signal, onEvent) {
  const answer = await request(path, asJson(content, { signal }));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", isWhole = false;
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Error(LOST);
    });
    if (done) break;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const text of events) {
      const [, kind, data] = /^event: (.*)\ndata: (.*)$/s.exec(text);
      isWhole ||= kind === "end" || kind === "error";
      onEvent(kind, JSON.parse(data));
    }
  }
  if (!isWhole) throw new Error(LOST);
}

export const shown = (value, digits = 4) => (value === null || value === undefined ? "not finite" : value.toFixed(digits));
